"""Partial labels: reading, masking, order; I images, N labels."""

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.labels import Label, LabelSet
from taistore.store.partial_labels import ImageLookup, PartialLabels, hash_order
from taistore.store.store import Store
from taistore.store.tables.label_lists import Ragged, covered_where

N = 5


def _id(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % 2**128:032x}"


def _full(images: int, seed: int = 0) -> tuple[PartialLabels, np.ndarray]:
    truth = (np.random.default_rng(seed).random((images, N)) < 0.4).astype(np.int8)
    rows, labels = np.nonzero(truth)
    positives = Ragged.build(np.bincount(rows, minlength=images), labels.astype(np.int32))
    nothing = Ragged.build(np.zeros(images, int), np.empty(0, np.int32))
    ids = [_id(i + 1) for i in range(images)]
    known = PartialLabels.build(N, ids, positives, nothing, covered_where(np.ones(images, bool)))
    return known, truth[np.argsort(np.array(ids))]


def _row(number: int, positives: list[int], negatives: list[int], split: str) -> dict[str, object]:
    return {
        "image_id": _id(number),
        "uri": f"{number}.jpg",
        "width": 1,
        "height": 1,
        "positives": positives,
        "negatives": negatives,
        "complete": number == 3,
        "combination_id": None,
        "split": split,
    }


def test_read_keeps_unknown_apart_from_absent(tmp_path: Path) -> None:
    labels = LabelSet(Label(f"k{i}", f"name {i}") for i in range(N))
    store = Store.create(tmp_path / "s", labels, default_encoder="none")
    rows = [_row(1, [0, 2], [4], "train"), _row(2, [], [], "train"), _row(3, [1], [], "test")]
    store.upsert("images", rows)
    known = PartialLabels.read(store)
    truth = known.truth(np.arange(3)).tolist()
    found = dict(zip([i.decode() for i in known.image_ids.tolist()], truth, strict=True))
    assert found == {
        _id(1): [1, -1, 1, -1, 0],
        _id(2): [-1] * N,
        _id(3): [0, 1, 0, 0, 0],
    }
    assert len(PartialLabels.read(store, split="train")) == 2
    assert known.known.sum() == 2
    assert known.positives_per_label.tolist() == [1, 1, 1, 0, 0]
    assert known.find([_id(2), "f" * 32]).tolist() == [
        known.image_ids.tolist().index(_id(2).encode()),
        -1,
    ]


def test_an_empty_store_has_no_images(tmp_path: Path) -> None:
    labels = LabelSet([Label("a", "a")])
    known = PartialLabels.read(Store.create(tmp_path / "s", labels, default_encoder="none"))
    assert len(known) == 0
    assert known.find(["0" * 32]).tolist() == [-1]
    assert len(known.masked(0.5, seed=0)) == 0


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**31))
def test_a_mask_hides_and_never_changes(share: float, seed: int) -> None:
    known, truth = _full(60)
    masked = known.masked(share, seed=seed).truth(np.arange(60))
    assert np.array_equal(known.truth(np.arange(60)), truth)
    assert np.all((masked == truth) | (masked == -1))


def test_a_mask_keeps_the_share_of_positives_and_negatives_alike() -> None:
    known, truth = _full(20_000)
    masked = known.masked(0.3, seed=1).truth(np.arange(20_000))
    for value in (0, 1):
        cells = truth == value
        # Five deviations of a binomial share of 0.3.
        bound = 5 * np.sqrt(0.3 * 0.7 / cells.sum())
        assert abs((masked[cells] >= 0).mean() - 0.3) < bound
    per_label = (masked >= 0).mean(axis=0)
    assert np.all(np.abs(per_label - 0.3) < 5 * np.sqrt(0.21 / 20_000))


def test_a_mask_depends_on_image_and_seed_alone() -> None:
    known, _ = _full(200)
    some = np.arange(0, 200, 3)
    whole = known.masked(0.5, seed=3).truth(some)
    assert np.array_equal(known.take(some).masked(0.5, seed=3).truth(np.arange(len(some))), whole)
    assert not np.array_equal(known.masked(0.5, seed=4).truth(some), whole)


def test_what_is_known_at_ten_percent_is_known_at_fifty() -> None:
    known, _ = _full(500)
    few, many = (known.masked(share, seed=2).truth(np.arange(500)) for share in (0.1, 0.5))
    assert np.all(many[few >= 0] == few[few >= 0])
    assert (few >= 0).sum() < (many >= 0).sum()


def test_masking_partial_labels_keeps_unknown_unknown() -> None:
    known, _ = _full(300)
    half = known.masked(0.5, seed=0)
    quarter = half.masked(0.5, seed=1)
    before, after = half.truth(np.arange(300)), quarter.truth(np.arange(300))
    assert np.all(after[before == -1] == -1)
    assert 0.4 < (after >= 0).sum() / (before >= 0).sum() < 0.6


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_outside_zero_and_one_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        _full(3)[0].masked(share, seed=0)


def test_hash_order_depends_on_the_images_alone() -> None:
    known, _ = _full(100)
    order = known.image_ids[hash_order(known.image_ids, seed=5)]
    half = known.take(np.arange(0, 100, 2))
    kept = [i for i in order.tolist() if i in set(half.image_ids.tolist())]
    assert half.image_ids[hash_order(half.image_ids, seed=5)].tolist() == kept
    assert order.tolist() != known.image_ids[hash_order(known.image_ids, seed=6)].tolist()


def test_single_cells_are_those_of_the_matrix() -> None:
    known, _ = _full(40)
    for labels in (known, known.masked(0.5, seed=0)):
        rows = np.random.default_rng(0).integers(40, size=(9, 7))
        asked = np.random.default_rng(1).integers(N, size=(9, 7))
        expected = labels.truth(np.arange(40))[rows, asked]
        assert labels.cells(rows, asked).tolist() == expected.tolist()
    nothing = np.empty((2, 0), dtype=np.int64)
    assert known.cells(nothing, nothing).shape == (2, 0)


def test_a_lookup_finds_what_find_finds() -> None:
    known, _ = _full(300)
    # Ids that begin alike, ids that are hashes, and some that are not here.
    alike = [f"{'a' * 8}{i:024x}" for i in range(50)]
    hashes = [f"{i:016x}{i:016x}" for i in np.random.default_rng(0).integers(2**63, size=900)]
    ids = [*(i.decode() for i in known.image_ids.tolist()), *alike, *hashes[:600]]
    nothing = Ragged.build(np.zeros(len(ids), int), np.empty(0, np.int32))
    both = PartialLabels.build(N, ids, nothing, nothing, covered_where(np.zeros(len(ids), bool)))
    asked = pa.array([*ids[::3], *alike, *hashes[500:], "a" * 32, "0" * 32, "f" * 32])
    assert ImageLookup(both).find(asked).tolist() == both.find(asked).tolist()
    assert ImageLookup(both).find(asked[7:50]).tolist() == both.find(asked)[7:50].tolist()
    assert ImageLookup(both).find(asked.cast(pa.large_string())).tolist() == (
        both.find(asked).tolist()
    )
    assert ImageLookup(both).find(pa.array([], pa.string())).tolist() == []
    empty = both.take(np.empty(0, dtype=np.int64))
    assert ImageLookup(empty).find(asked[:2]).tolist() == [-1, -1]


@pytest.mark.parametrize("ids", [["zz", "z", "~~~~~~~~", "A" * 32], ["9", "O", "o", "`"]])
def test_a_lookup_finds_ids_that_are_no_hexadecimal_digits(ids: list[str]) -> None:
    nothing = Ragged.build(np.zeros(len(ids), int), np.empty(0, np.int32))
    known = PartialLabels.build(N, ids, nothing, nothing, covered_where(np.zeros(len(ids), bool)))
    asked = pa.array([*ids, "0" * 32, "zzz", ""])
    assert ImageLookup(known).find(asked).tolist() == known.find(asked).tolist()


def _uniform_by_hand(image_id: bytes, label_id: int, seed: int) -> float:
    """The number that decides a cell's fate, in plain integers (SplitMix64)."""

    def mixed(value: int) -> int:
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        return value ^ (value >> 31)

    key = mixed(int(image_id[:16], 16) ^ mixed(seed + 1))
    step = (label_id + 1) * 0x9E3779B97F4A7C15 % 2**64
    return (mixed((key + step) % 2**64) >> 11) * 2.0**-53


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5, 1.0]), st.integers(0, 3))
def test_a_mask_of_complete_and_listed_images_is_the_one_by_hand(
    seed: int, share: float, kinds: int
) -> None:
    random = np.random.default_rng(seed)
    images = 30
    lists = [
        [random.permutation(N)[: random.integers(N + 1)] for _ in range(images)] for _ in range(2)
    ]
    positives, negatives = (
        Ragged.build(np.array([len(ids) for ids in of]), np.concatenate(of).astype(np.int32))
        for of in lists
    )
    complete = random.random(images) < (0.0, 0.5, 0.5, 1.0)[kinds]
    ids = [_id(i + 1) for i in range(images)]
    known = PartialLabels.build(N, ids, positives, negatives, covered_where(complete))
    expected = known.truth(np.arange(images))
    for row, image_id in enumerate(known.image_ids.tolist()):
        for label_id in range(N):
            if _uniform_by_hand(image_id, label_id, seed) >= share:
                expected[row, label_id] = -1
    masked = known.masked(share, seed=seed)
    assert masked.truth(np.arange(images)).tolist() == expected.tolist()
    assert len(masked.positives.label_ids) == (expected == 1).sum()
    assert len(masked.negatives.label_ids) == (expected == 0).sum()
    assert not masked.complete.any()


def test_masking_listed_cells_holds_no_cell_that_is_not_listed() -> None:
    images, labels, each = 50_000, 7186, 12
    random = np.random.default_rng(0)
    lists = [
        Ragged.build(
            np.full(images, each), random.integers(labels, size=images * each).astype(np.int32)
        )
        for _ in range(2)
    ]
    ids = [_id(i + 1) for i in range(images)]
    known = PartialLabels.build(
        labels, ids, lists[0], lists[1], covered_where(np.zeros(images, bool))
    )
    tracemalloc.start()
    masked = known.masked(0.5, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 1.2 million known cells; images x labels are 359 million.
    assert peak < 100 * images * each * 2
    assert 0.49 < len(masked.positives.label_ids) / (images * each) < 0.51


def test_ids_that_begin_alike_cost_no_square() -> None:
    ids = np.array([f"{n:08x}" + "0" * 24 for n in range(30_000)], dtype="S32")
    nothing = Ragged.build(np.zeros(len(ids), np.int64), np.empty(0, np.int32))
    known = PartialLabels.build(3, ids, nothing, nothing, covered_where(np.zeros(len(ids), bool)))
    lookup, asked = ImageLookup(known), np.random.default_rng(0).permutation(len(ids))
    text = pa.array([one.decode() for one in ids[asked].tolist()])
    began = time.process_time()
    found = lookup.find(text)
    assert time.process_time() - began < 0.5  # some milliseconds; 2 seconds as a square
    assert np.array_equal(found, asked)
