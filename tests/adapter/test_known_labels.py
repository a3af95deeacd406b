"""Which labels of which images a run may use: shots, masks, what is kept beside the checkpoint."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.adapter.config import TrainConfig
from taistore.adapter.known_labels import (
    KNOWN,
    choose_shots,
    describe_known,
    known_labels,
    read_known,
    save_known,
)
from taistore.errors import TrainingError
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.store.tables.label_lists import ALL_LABELS, Ragged
from tests.adapter.stores import add_images, text_store

N = 6


def images_of(truth: "np.ndarray[tuple[int, ...], np.dtype[np.int8]]") -> PartialLabels:
    rows, labels = np.nonzero(truth == 1)
    count = len(truth)
    return PartialLabels.build(
        truth.shape[1],
        [f"{(i + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" for i in range(count)],
        Ragged.build(np.bincount(rows, minlength=count), labels.astype(np.int32)),
        Ragged.build(np.zeros(count, np.int64), np.empty(0, np.int32)),
        np.full(count, ALL_LABELS),
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**20), st.integers(1, 16), st.integers(1, 80))
def test_every_label_gets_its_shots_or_all_it_has(seed: int, shots: int, count: int) -> None:
    truth = (np.random.default_rng(seed).random((count, N)) < 0.3).astype(np.int8)
    images = images_of(truth)
    chosen = choose_shots(images, shots, seed=seed)
    there = images.positives_per_label
    got = images.take(chosen).positives_per_label
    assert np.all(got >= np.minimum(there, shots))
    assert np.array_equal(chosen, np.unique(chosen))
    # No more images than if every label chose on its own.
    assert len(chosen) <= np.minimum(there, shots).sum()


def test_shots_depend_on_the_seed_and_the_images_alone() -> None:
    truth = (np.random.default_rng(0).random((200, N)) < 0.3).astype(np.int8)
    images = images_of(truth)
    again = images_of(truth)
    assert np.array_equal(choose_shots(images, 4, seed=1), choose_shots(again, 4, seed=1))
    assert not np.array_equal(choose_shots(images, 4, seed=1), choose_shots(images, 4, seed=2))


def test_an_image_of_several_labels_counts_for_each() -> None:
    truth = np.zeros((40, 2), np.int8)
    truth[:, 0] = 1
    truth[:3, 1] = 1
    chosen = choose_shots(images_of(truth), 3, seed=0)
    assert len(chosen) == 3


def test_what_a_run_knows_comes_back_as_it_was(tmp_path: Path) -> None:
    store = text_store(tmp_path / "s", rows=10)
    add_images(store, count=30)
    add_images(store, count=10, complete=False, first=100)
    images = known_labels(store, TrainConfig(task="pll", known=0.4, mask_seed=5))
    save_known(tmp_path, images)
    back = read_known(tmp_path)
    rows = np.arange(len(images))
    assert np.array_equal(back.image_ids, images.image_ids)
    assert np.array_equal(back.truth(rows), images.truth(rows))
    assert np.array_equal(back.complete, images.complete)
    assert back.labels == images.labels


def test_lost_or_damaged_labels_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=KNOWN):
        read_known(tmp_path)
    (tmp_path / KNOWN).write_bytes(b"no parquet")
    with pytest.raises(TrainingError, match="train again"):
        read_known(tmp_path)


def test_counts_tell_known_from_unknown(tmp_path: Path) -> None:
    store = text_store(tmp_path / "s", rows=10)
    truth = add_images(store, count=20)
    add_images(store, count=5, complete=False, first=100)
    config = TrainConfig(task="pll")
    counts = describe_known(known_labels(store, config), config)
    assert counts["images"] == 25
    assert counts["known_positives"] == int(truth.sum()) + 5
    assert counts["known_cells"] == 20 * N + 5 * 2


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return text_store(tmp_path / "s", rows=10)


def test_a_split_without_images_names_those_that_there_are(store: Store) -> None:
    add_images(store, count=3, split="test")
    with pytest.raises(TrainingError, match=r"split 'train' has no images \(splits: 'test'\)"):
        known_labels(store, TrainConfig(task="pll"))


def test_all_labels_unknown(store: Store) -> None:
    add_images(store, count=3)
    rows = [r for b in store.scan("images") for r in b.to_pylist()]
    blank = {"positives": [], "complete": False, "combination_id": None}
    store.upsert("images", [{**row, **blank} for row in rows])
    with pytest.raises(TrainingError, match="no image is known to show any label"):
        known_labels(store, TrainConfig(task="pll"))


def test_more_shots_than_there_are_images(store: Store) -> None:
    add_images(store, count=8)
    with pytest.raises(TrainingError, match=r"16 shots, but no label has more than \d images"):
        known_labels(store, TrainConfig(task="fsl", shots=16))


def test_a_mask_that_leaves_nothing(store: Store) -> None:
    add_images(store, count=3)
    with pytest.raises(TrainingError, match="raise known="):
        known_labels(store, TrainConfig(task="pll", known=1e-6))
