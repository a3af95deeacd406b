"""The known cells of labels, from batches, and blocks of labels."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.evaluation import label_columns as module
from taistore.evaluation.label_columns import LabelColumns, label_blocks
from taistore.scoring.known_cells import truth_matrix
from taistore.store.tables.label_lists import ALL_LABELS


@pytest.mark.parametrize("block", [slice(0, 4), slice(1, 3)])
def test_known_cells_come_back_label_by_label(
    block: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_CELLS", 7)
    random = np.random.default_rng(1)
    scores = random.standard_normal((10, 4)).astype(np.float32)
    truth = random.integers(-1, 2, (10, 4)).astype(np.int8)
    most = (truth >= 0).sum(axis=0) + 2
    columns = LabelColumns(["a", "b"], block, most[block])
    for start in range(0, 10, 4):
        part = slice(start, start + 4)
        columns.add(truth[part], {"a": scores[part], "b": -scores[part]})
    assert columns.images == 10
    columns.forget(np.array([0, 2]))
    truth[:, [0, 2]] = np.where(truth[:, [0, 2]] >= 0, -1, -9)
    truth[:, [1, 3]] = np.where(truth[:, [1, 3]] >= 0, truth[:, [1, 3]], -9)
    for n, label_id in enumerate(range(block.start, block.stop)):
        known = np.flatnonzero(truth[:, label_id] > -9)
        for step, sign in (("a", 1), ("b", -1)):
            cells = columns.label(step, n)
            np.testing.assert_array_equal(cells.images, known)
            np.testing.assert_array_equal(cells.truth, truth[known, label_id])
            np.testing.assert_array_equal(cells.scores, sign * scores[known, label_id])
    given = [(s[t >= 0], t[t >= 0]) for s, t in columns.parts("a")]
    assert len(given) > 1
    of_block = truth[:, block].T
    np.testing.assert_array_equal(
        np.concatenate([s for s, _ in given]), scores[:, block].T[of_block >= 0]
    )
    np.testing.assert_array_equal(np.concatenate([t for _, t in given]), of_block[of_block >= 0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=20), st.integers(1, 30))
def test_blocks_hold_every_label_once_and_no_more_than_they_may(
    most: list[int], cells: int
) -> None:
    counts = np.array(most)
    blocks = label_blocks(counts, cells=cells)
    assert [n for block in blocks for n in range(block.start, block.stop)] == [*range(len(most))]
    for block in blocks:
        assert counts[block].sum() <= cells or block.stop - block.start == 1
    for block, after in itertools.pairwise(blocks):
        assert counts[block].sum() + counts[after.start] > cells


def test_truth_of_complete_and_partial_labels() -> None:
    found = truth_matrix(
        4,
        (np.array([1, 2, 0, 1]), np.array([3, 0, 1, 1], np.int32)),
        (np.array([0, 1, 1, 1]), np.array([2, 0, 3], np.int32)),
        np.array([ALL_LABELS, 0, 0, 2], np.int32),
    )
    assert found.dtype == np.int8
    assert found.tolist() == [[0, 0, 0, 1], [1, 1, 0, -1], [0, -1, -1, -1], [0, 1, -1, 0]]
