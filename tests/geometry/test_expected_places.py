"""Image neighbours of texts, against a plain search; D dimension, I images, N labels."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.geometry.centroids import combination_centroids, label_centroids
from taistore.geometry.expected_places import (
    check_shift,
    neighbour_estimates,
    neighbour_targets,
)
from taistore.geometry.image_neighbours import ImageNeighbours
from taistore.geometry.offsets import Shift, TextSide, gap_targets, shrunk
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from tests.adapter.stores import prompt_vectors
from tests.geometry.stores import ENCODER_ID, add_images, image_id, image_store, text_vectors

N, D = 6, 16
GAP = 4 * np.eye(D)[3]


def _clustered(path: Path, *, images: int = 120) -> tuple[Store, NDArray[np.float64]]:
    """Images near their one label's prompt, moved by a common gap; labels of few are known."""
    store = image_store(path, labels=N, texts=300)
    random = np.random.default_rng(0)
    label_I = np.arange(images) % N
    vectors = 10 * prompt_vectors(N)[label_I] + GAP + 0.3 * random.standard_normal((images, D))
    positives = [[int(n)] if i < 5 * N and n != 5 else [] for i, n in enumerate(label_I)]
    stored = add_images(store, range(images), positives, vectors_ID=vectors)
    return store, stored.astype(np.float64)


def test_neighbours_estimate_labels_without_images(tmp_path: Path) -> None:
    store, vectors = _clustered(tmp_path / "s")
    known = PartialLabels.read(store)
    images = label_centroids(store, ENCODER_ID, known)
    texts, index = combination_centroids(store, ENCODER_ID), store.combination_index()
    assert images.counts_N[5] == 0
    neighbours = ImageNeighbours.build(store, ENCODER_ID, known)
    targets = neighbour_targets(neighbours, images, texts, index, k=10)
    true = np.stack([vectors[np.arange(120) % N == n].mean(axis=0) for n in range(N)])
    far = np.linalg.norm(images.means_ND[5] - true[5])
    assert np.linalg.norm(targets[5] - true[5]) < 0.1 * far
    side = TextSide.build(texts, index, labels=N)
    by_gap = shrunk(images, gap_targets(images, side), pseudo_counts=2)
    assert np.linalg.norm(targets[5] - true[5]) < np.linalg.norm(by_gap[5] - true[5])
    shift = Shift.build(images, texts, index, pseudo_counts=2, targets_ND=targets)
    np.testing.assert_allclose(shift.images.estimates_ND[5], targets[5], rtol=1e-5)


def test_the_estimate_is_the_mean_of_the_nearest_that_may_show_the_label(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    # In any order of the table, and with images of another split between.
    halves = [add_images(store, h, [[0]] * 20, split="test") for h in (range(20), range(20, 40))]
    vectors = np.concatenate(halves).astype(np.float64)
    add_images(store, range(0, 40, 2), [[]] * 20, negatives=[[2]] * 5 + [[]] * 15)
    known = PartialLabels.read(store, split="train")
    query = np.ones((1, D), dtype=np.float32)
    found, counts = neighbour_estimates(
        ImageNeighbours.build(store, ENCODER_ID, known), query, np.array([2]), k=9
    )
    mine = np.arange(10, 40, 2)
    cosine = (vectors @ query[0]) / np.linalg.norm(vectors, axis=1)
    nearest = mine[np.argsort(-cosine[mine])[:9]]
    np.testing.assert_allclose(found[0], vectors[nearest].mean(axis=0), rtol=1e-4, atol=1e-4)
    assert counts.tolist() == [9]
    others, _ = neighbour_estimates(
        ImageNeighbours.build(store, ENCODER_ID, known), query, np.array([1]), k=4
    )
    every = np.arange(0, 40, 2)
    nearest = every[np.argsort(-cosine[every])[:4]]
    np.testing.assert_allclose(others[0], vectors[nearest].mean(axis=0), rtol=1e-4, atol=1e-4)


def test_the_check_counts_known_cells_alone(tmp_path: Path) -> None:
    store, _ = _clustered(tmp_path / "s")
    known = PartialLabels.read(store)
    images = label_centroids(store, ENCODER_ID, known)
    texts, index = combination_centroids(store, ENCODER_ID), store.combination_index()
    shift = Shift.build(images, texts, index, pseudo_counts=0)
    neighbours = ImageNeighbours.build(store, ENCODER_ID, known)
    check = check_shift(neighbours, shift, index, k=7, texts_per_label=10**6)
    ids, text_MD = text_vectors(store)
    rows = neighbours.known.truth(neighbours.rows_I)
    position = {i: n for n, i in enumerate(known.image_ids[neighbours.rows_I].tolist())}
    order = [position[image_id(i).encode()] for i in range(120)]
    stored = store.vectors(
        "image_vectors", [image_id(i) for i in range(120)], encoder_id=ENCODER_ID
    )
    by_row = np.empty((120, D))
    by_row[order] = stored
    unit = by_row / np.linalg.norm(by_row, axis=1, keepdims=True)
    for name, moved in (("before", 0), ("after", shift.offsets(ids))):
        cosine = (text_MD.astype(np.float32) + moved) @ unit.T
        nearest = np.argsort(-cosine, axis=1)[:, :7]
        for n in range(N):
            mine = [m for m in range(len(ids)) if n in index.positives(ids[[m]])[1]]
            truth = rows[nearest[mine], n]
            share = (truth == 1).sum() / max((truth >= 0).sum(), 1)
            found = (check.before_N if name == "before" else check.after_N)[n]
            if (truth >= 0).any():
                assert found == pytest.approx(share)
            else:
                assert np.isnan(found)
            assert check.texts_N[n] == len(mine)


def test_the_check_samples_texts_of_every_label(tmp_path: Path) -> None:
    store, _ = _clustered(tmp_path / "s")
    known = PartialLabels.read(store)
    texts, index = combination_centroids(store, ENCODER_ID), store.combination_index()
    images = label_centroids(store, ENCODER_ID, known)
    shift = Shift.build(images, texts, index, pseudo_counts=1)
    check = check_shift(
        ImageNeighbours.build(store, ENCODER_ID, known), shift, index, texts_per_label=3
    )
    assert (check.texts_N >= 3).all()
    assert check.texts_N.sum() < 60


def test_no_image_at_all_gives_nothing(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N, texts=30)
    known = PartialLabels.read(store)
    neighbours = ImageNeighbours.build(store, ENCODER_ID, known)
    found, counts = neighbour_estimates(neighbours, np.ones((2, D), np.float32), np.arange(2), k=3)
    assert not found.any()
    assert counts.tolist() == [0, 0]
    images = label_centroids(store, ENCODER_ID, known)
    texts, index = combination_centroids(store, ENCODER_ID), store.combination_index()
    shift = Shift.build(images, texts, index, pseudo_counts=0)
    assert np.isnan(check_shift(neighbours, shift, index).after_N).all()


def test_a_vector_that_is_not_finite_is_named(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    vectors = np.ones((3, D))
    vectors[1, 1] = np.inf
    add_images(store, range(3), [[0]] * 3, vectors_ID=vectors)
    with pytest.raises(StoreError, match=f"image {image_id(1)} is not finite"):
        ImageNeighbours.build(store, ENCODER_ID, PartialLabels.read(store))
