"""The score board in memory and on disk, and the truth matrix."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from taistore.errors import ScoringError
from taistore.evaluation import score_matrices as module
from taistore.evaluation.score_matrices import ScoreBoard
from taistore.scoring.known_cells import truth_matrix


@pytest.mark.parametrize("limit", [0, 10**9])
def test_batches_come_back_whole(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MEMORY_BYTES", limit)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    random = np.random.default_rng(1)
    scores = random.standard_normal((10, 3)).astype(np.float32)
    truth = random.integers(-1, 2, (10, 3)).astype(np.int8)
    with ScoreBoard(["a", "b"], images=12, labels=3) as board:
        for start in range(0, 10, 4):
            part = slice(start, start + 4)
            board.add(truth[part], {"a": scores[part], "b": -scores[part]})
        assert board.images == 10
        assert len(list(tmp_path.iterdir())) == (1 if limit == 0 else 0)
        np.testing.assert_array_equal(board.truth, truth)
        np.testing.assert_array_equal(board.scores("a"), scores)
        np.testing.assert_array_equal(board.scores("b"), -scores)
    assert list(tmp_path.iterdir()) == []


def test_matrices_larger_than_the_disk_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScoringError, match="set TMPDIR to a folder on a larger disk"):
        ScoreBoard(["a"], images=10**12, labels=10**4)


def test_truth_of_complete_and_partial_labels() -> None:
    found = truth_matrix(
        4,
        (np.array([1, 2, 0]), np.array([3, 0, 1], np.int32)),
        (np.array([0, 1, 1]), np.array([2, 0], np.int32)),
        np.array([True, False, False]),
    )
    assert found.dtype == np.int8
    assert found.tolist() == [[0, 0, 0, 1], [1, 1, 0, -1], [0, -1, -1, -1]]
