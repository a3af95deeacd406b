"""Centroids in the store: refreshed by reading what changed, equal to a full pass."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.errors import StoreError
from taistore.geometry.centroids import (
    LabelCentroids,
    combination_centroids,
    label_centroids,
)
from taistore.geometry.stored_centroids import Refreshed, refresh_centroids
from taistore.store.maintenance import optimize
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from tests.geometry.stores import ENCODER_ID, add_images, add_vectors, image_store

N = 6


def _labels(images: int, seed: int = 0) -> list[list[int]]:
    shown = np.random.default_rng(seed).random((images, N)) < 0.3
    return [np.flatnonzero(row).tolist() for row in shown]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = image_store(tmp_path / "s", labels=N, texts=120)
    add_images(store, range(100), _labels(100))
    return store


def _assert_close(found: LabelCentroids, full: LabelCentroids) -> None:
    scale = np.abs(full.means_ND).max()
    np.testing.assert_allclose(found.means_ND, full.means_ND, rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(found.mean_D, full.mean_D, rtol=1e-5, atol=1e-5 * scale)
    np.testing.assert_allclose(found.dispersions_N, full.dispersions_N, rtol=1e-4, atol=1e-3)
    assert found.counts_N.tolist() == full.counts_N.tolist()
    assert (found.images, found.without_vector) == (full.images, full.without_vector)


def _refresh(store: Store, split: str | None = "train") -> Refreshed:
    """Refresh, and check the outcome against a full pass."""
    done = refresh_centroids(store, ENCODER_ID, split=split)
    known = PartialLabels.read(store, split=split)
    _assert_close(done.images, label_centroids(store, ENCODER_ID, known))
    full = combination_centroids(store, ENCODER_ID)
    assert done.texts.combination_ids.tolist() == full.combination_ids.tolist()
    assert done.texts.counts_C.tolist() == full.counts_C.tolist()
    np.testing.assert_allclose(done.texts.means_CD, full.means_CD, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(done.texts.mean_D, full.mean_D, rtol=1e-5, atol=1e-5)
    return done


def _read(done: Refreshed) -> tuple[str, int, str, int]:
    return done.images_from, done.image_vectors_read, done.texts_from, done.text_vectors_read


def test_a_second_refresh_reads_no_vector(store: Store) -> None:
    assert _read(_refresh(store)) == ("all", 100, "all", 120)
    assert _read(_refresh(store)) == ("stored", 0, "stored", 0)


def test_new_images_alone_are_read(store: Store) -> None:
    _refresh(store)
    add_images(store, range(100, 110), _labels(10, seed=1))
    assert _read(_refresh(store)) == ("changes", 10, "stored", 0)
    assert _read(_refresh(store))[:2] == ("stored", 0)


def test_relabelled_images_alone_are_read(store: Store) -> None:
    _refresh(store)
    add_images(store, range(5), [[4]] * 5, with_vectors=False)
    assert _read(_refresh(store))[:2] == ("changes", 5)
    # Only what is absent changed: no centroid can.
    add_images(store, range(5), [[4]] * 5, negatives=[[1]] * 5, with_vectors=False)
    assert _read(_refresh(store))[:2] == ("changes", 0)
    add_images(store, range(5), [[]] * 5, with_vectors=False)
    assert _read(_refresh(store))[:2] == ("changes", 5)


def test_images_that_change_split_leave_and_come_back(store: Store) -> None:
    before = _refresh(store).images
    add_images(store, range(8), _labels(100)[:8], split="test", with_vectors=False)
    done = _refresh(store)
    assert _read(done)[:2] == ("changes", 8)
    assert done.images.images == 92
    add_images(store, range(8), _labels(100)[:8], with_vectors=False)
    assert _read(_refresh(store))[:2] == ("changes", 8)
    _assert_close(refresh_centroids(store, ENCODER_ID).images, before)


def test_a_vector_that_comes_later_counts_then(store: Store) -> None:
    vectors = add_images(store, range(200, 203), [[1]] * 3, with_vectors=False)
    assert _refresh(store).images.without_vector == 3
    add_images(store, range(200, 203), [[1]] * 3, vectors_ID=vectors)
    done = _refresh(store)
    assert _read(done)[:2] == ("changes", 3)
    assert done.images.without_vector == 0


def test_a_label_that_loses_its_last_image_has_no_centroid(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    add_images(store, range(40), [[0]] * 39 + [[1]])
    _refresh(store)
    add_images(store, [39], [[0]], with_vectors=False)
    done = _refresh(store)
    assert _read(done)[:2] == ("changes", 1)
    assert not done.images.means_ND[1].any()


def test_a_sum_that_lost_nearly_all_is_made_anew(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    add_images(store, range(400), [[0]] * 50 + [[1]] * 350)
    _refresh(store)
    add_images(store, range(48), [[1]] * 48, with_vectors=False)
    assert _read(_refresh(store))[:2] == ("all", 400)


def test_many_changes_or_another_split_read_everything(store: Store) -> None:
    _refresh(store)
    add_images(store, range(60), [[2]] * 60, with_vectors=False)
    assert _read(_refresh(store))[:2] == ("all", 100)
    assert _read(_refresh(store, split=None))[:2] == ("all", 100)
    assert _read(_refresh(store, split=None))[:2] == ("stored", 0)
    assert _read(_refresh(store))[:2] == ("all", 100)


def test_everything_is_read_where_the_old_version_is_gone(store: Store) -> None:
    _refresh(store)
    add_images(store, range(100, 104), [[0]] * 4)
    optimize(store, keep_days=0)
    assert _read(_refresh(store)) == ("all", 104, "stored", 0)
    # Compaction makes new versions of the same rows.
    add_images(store, [104], [[0]])
    add_images(store, [105], [[0]])
    optimize(store, keep_days=7)
    assert _read(_refresh(store)) == ("changes", 2, "stored", 0)


def test_texts_of_grown_combinations_alone_are_read(store: Store) -> None:
    _refresh(store)
    single, new = (store.labels.combination_id(ids) for ids in ([0], [1, 2, 3]))
    store.append("combinations", {"combination_id": [new], "label_ids": [[1, 2, 3]]})
    there = combination_centroids(store, ENCODER_ID)
    before = int(there.counts_C[there.rows(np.array([single]))][0])
    keys = {"text_id": ["a" * 32, "b" * 32], "combination_id": [single, new]}
    add_vectors(store, "text_vectors", keys, np.full((2, 16), 2, dtype=np.float16))
    assert _read(_refresh(store)) == ("stored", 0, "changes", before + 2)
    assert _read(_refresh(store)) == ("stored", 0, "stored", 0)


def test_an_empty_store_has_empty_centroids(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    for _ in range(2):
        done = refresh_centroids(store, ENCODER_ID)
        assert done.images.counts_N.tolist() == [0] * N
        assert len(done.texts) == 0
    add_images(store, range(3), [[0]] * 3)
    assert _read(_refresh(store))[:2] == ("all", 3)


def test_a_changed_vector_that_is_not_finite_is_named(store: Store) -> None:
    _refresh(store)
    bad: Any = np.ones((2, 16))
    bad[1, 3] = np.inf
    add_images(store, [300, 301], [[0], [0]], vectors_ID=bad)
    with pytest.raises(StoreError, match=f"image_vectors__{ENCODER_ID}: the vector of image"):
        refresh_centroids(store, ENCODER_ID)


def test_prompts_beside_them_stay(store: Store) -> None:
    vector = {"vector": [[1.0] * 16], "kind": ["prompt"], "id": [3], "count": [1]}
    store.upsert("centroids", {**vector, "source": ["x"]}, encoder_id=ENCODER_ID)
    _refresh(store)
    found = list(store.scan("centroids", encoder_id=ENCODER_ID, where={"kind": "prompt"}))
    assert sum(batch.num_rows for batch in found) == 1


changes = st.lists(
    st.tuples(
        st.lists(st.integers(0, 59), min_size=1, max_size=6, unique=True),
        st.lists(st.integers(0, N - 1), max_size=3, unique=True),
        st.sampled_from(["train", "test"]),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=8, deadline=None)
@given(changes)
def test_any_history_of_labels_ends_as_a_full_pass(
    tmp_path_factory: pytest.TempPathFactory,
    history: Sequence[tuple[list[int], list[int], str]],
) -> None:
    store = image_store(tmp_path_factory.mktemp("history") / "s", labels=N)
    add_images(store, range(50), _labels(50))
    _refresh(store)
    for numbers, positives, split in history:
        add_images(store, numbers, [sorted(positives)] * len(numbers), split=split)
        _refresh(store)
