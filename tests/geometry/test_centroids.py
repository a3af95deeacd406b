"""Eq. 7 and 8 of arXiv:2312.04160 from a store; I images, N labels, D dimension."""

from pathlib import Path

import numpy as np
import pytest

from taistore.errors import StoreError
from taistore.geometry.centroids import combination_centroids, label_centroids
from taistore.store.arrow import vector_column
from taistore.store.partial_labels import PartialLabels
from tests.geometry.stores import (
    ENCODER_ID,
    add_images,
    add_vectors,
    image_id,
    image_store,
    text_vectors,
)

N = 6


def test_eq_7_takes_known_positives_alone(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    random = np.random.default_rng(1)
    truth = random.choice([-1, 0, 1], size=(200, N), p=[0.5, 0.3, 0.2])
    truth[:, 5] = np.where(truth[:, 5] == 1, 0, truth[:, 5])
    vectors = add_images(
        store,
        range(200),
        [np.flatnonzero(row == 1).tolist() for row in truth],
        negatives=[np.flatnonzero(row == 0).tolist() for row in truth],
    ).astype(np.float64)
    found = label_centroids(store, ENCODER_ID, PartialLabels.read(store), dispersions=True)
    for j in range(N - 1):
        of_label = vectors[truth[:, j] > 0]
        centroid = of_label.sum(axis=0) / len(of_label)
        np.testing.assert_allclose(found.means_ND[j], centroid, rtol=1e-5, atol=1e-6)
        spread = ((of_label - centroid) ** 2).sum(axis=1).mean()
        np.testing.assert_allclose(found.dispersions_N[j], spread, rtol=1e-4)
    assert found.counts_N.tolist() == (truth == 1).sum(axis=0).tolist()
    assert not found.means_ND[5].any()
    assert np.isnan(found.dispersions_N[5])
    np.testing.assert_allclose(found.mean_D, vectors.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert (found.images, found.without_vector) == (200, 0)


def test_images_that_were_not_asked_for_or_lack_a_vector_do_not_count(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    train = add_images(store, range(10), [[0]] * 10)
    add_images(store, range(10, 20), [[0]] * 10, split="test")
    add_images(store, range(20, 23), [[0]] * 3, with_vectors=False)
    found = label_centroids(store, ENCODER_ID, PartialLabels.read(store, split="train"))
    assert (found.images, found.without_vector) == (10, 3)
    assert found.counts_N[0] == 10
    np.testing.assert_allclose(found.mean_D, train.astype(np.float64).mean(axis=0), rtol=1e-5)


def test_one_image_has_no_dispersion_and_no_image_no_centroid(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    empty = label_centroids(store, ENCODER_ID, PartialLabels.read(store))
    assert empty.counts_N.tolist() == [0] * N
    assert not empty.mean_D.any()
    (vector,) = add_images(store, [1], [[2]])
    found = label_centroids(store, ENCODER_ID, PartialLabels.read(store), dispersions=True)
    assert found.dispersions_N[2] == 0
    assert found.means_ND[2].tolist() == vector.astype(np.float32).tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_not_finite_is_named(tmp_path: Path, bad: float) -> None:
    store = image_store(tmp_path / "s", labels=N)
    add_images(store, range(3), [[0]] * 3, split="test")
    vectors = np.ones((4, 16))
    vectors[2, 5] = bad
    add_images(store, range(3, 7), [[0]] * 4, vectors_ID=vectors)
    wanted = PartialLabels.read(store, split="train")
    with pytest.raises(StoreError, match=f"image_vectors__{ENCODER_ID}.*image {image_id(5)}"):
        label_centroids(store, ENCODER_ID, wanted)
    # An image that was not asked for does no harm.
    others = PartialLabels.read(store, split="test")
    assert label_centroids(store, ENCODER_ID, others).images == 3


def test_eq_8_averages_the_texts_of_each_combination(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N, texts=300)
    ids, vectors = text_vectors(store)
    found = combination_centroids(store, ENCODER_ID)
    assert found.combination_ids.tolist() == sorted(set(ids.tolist()))
    for i, count, mean in zip(
        found.combination_ids, found.counts_C, found.means_CD[:], strict=True
    ):
        of_combination = vectors[ids == i].astype(np.float64)
        assert count == len(of_combination)
        np.testing.assert_allclose(mean, of_combination.mean(axis=0), rtol=1e-5, atol=1e-5)
    exact = vectors.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(found.mean_D, exact, rtol=1e-5, atol=1e-5)
    with pytest.raises(KeyError, match="no text vectors"):
        found.rows(np.array([12345]))


def test_a_pinned_version_does_not_see_later_vectors(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N, texts=50)
    add_images(store, range(5), [[0]] * 5)
    images = store.dataset("image_vectors", ENCODER_ID).version
    texts = store.dataset("text_vectors", ENCODER_ID).version
    add_images(store, range(5, 9), [[0]] * 4)
    more = {
        "text_id": ["f" * 32],
        "combination_id": [store.labels.combination_id([0])],
        "vector": vector_column(np.ones((1, 16))),
    }
    store.append("text_vectors", more, encoder_id=ENCODER_ID)
    known = PartialLabels.read(store)
    assert label_centroids(store, ENCODER_ID, known, version=images).images == 5
    assert label_centroids(store, ENCODER_ID, known).images == 9
    assert combination_centroids(store, ENCODER_ID, version=texts).counts_C.sum() == 50
    assert combination_centroids(store, ENCODER_ID).counts_C.sum() == 51


def test_a_text_that_is_not_finite_is_named(tmp_path: Path) -> None:
    vectors = np.ones((5, 16))
    vectors[3, 0] = np.nan
    store = image_store(tmp_path / "s", labels=N)
    keys = {
        "text_id": [f"{i:032x}" for i in range(5)],
        "combination_id": [store.labels.combination_id([0])] * 5,
    }
    add_vectors(store, "text_vectors", keys, vectors.astype(np.float16))
    with pytest.raises(StoreError, match=f"text_vectors__{ENCODER_ID}.*text {3:032x} "):
        combination_centroids(store, ENCODER_ID)
