"""Figures in bounded memory: kept, counted and by blocks they are those of whole matrices."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.evaluation import label_columns
from taistore.evaluation.comparison import compare
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.labelled_scores import Scope, labelled_split
from taistore.evaluation.metrics import metrics
from taistore.evaluation.protocols import PROTOCOLS
from taistore.evaluation.split_figures import split_figures
from taistore.progress import no_progress
from taistore.store.store import Store
from tests.evaluation.test_protocols import prompts, store_of
from tests.scoring.runs import add_random_run

LABELS = 40


def rows(images: int, *, complete: float, seed: int = 0) -> list[dict[str, Any]]:
    """Images of which every label, some or none is known."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(images):
        cells = random.choice([-1, -1, 0, 1], size=LABELS)
        cells[:2] = np.where(cells[:2] == 0, -1, cells[:2])  # never a negative
        cells[2:4] = np.where(cells[2:4] == 1, -1, cells[2:4])  # never a positive
        found.append(
            {
                "positives": np.flatnonzero(cells == 1).tolist(),
                "negatives": np.flatnonzero(cells == 0).tolist(),
                "complete": bool(random.random() < complete),
            }
        )
    return found


def with_two_runs(path: Path, *, complete: float) -> Store:
    store = store_of(path, [f"n{n}" for n in range(LABELS)], rows(60, complete=complete))
    add_random_run(store, "other", prompts(store)[::-1].copy(), seed=3, minute=1)
    return store


@pytest.mark.parametrize("complete", [0.0, 0.4])
@pytest.mark.parametrize("limit", [0, 3000, 2**30])
def test_they_are_those_of_whole_matrices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complete: float, limit: int
) -> None:
    monkeypatch.setattr(label_columns, "CELL_BYTES", limit)
    store = with_two_runs(tmp_path / "s", complete=complete)
    split = labelled_split(store, "run", Scope(split="test"))
    truth = np.concatenate([batch.truth_BN for batch in split.batches()])
    found = split_figures(split, needs_negatives=False, progress=no_progress)
    assert (found.columns is None) == (limit < 2**30)
    for step, figures in found.found.items():
        scores = np.concatenate([batch.scores[step] for batch in split.batches()])
        expected = metrics(scores, truth)
        np.testing.assert_array_equal(
            figures.label_average_precision, expected.label_average_precision
        )
        for name in ("mean_average_precision", "micro_average_precision", "class_f1", "overall_f1"):
            assert getattr(figures, name) == getattr(expected, name), (step, name)
        assert figures.labels_without_positives == expected.labels_without_positives
    counted = split_figures(split, needs_negatives=True, progress=no_progress).found[
        "adapter_global"
    ]
    scores = np.concatenate([batch.scores["adapter_global"] for batch in split.batches()])
    left = truth.copy()
    left[:, ~(truth == 0).any(axis=0)] = -1
    expected = metrics(scores, left)
    assert counted.overall_f1 == expected.overall_f1
    assert counted.micro_average_precision == expected.micro_average_precision
    np.testing.assert_array_equal(counted.label_average_precision, expected.label_average_precision)


@pytest.mark.parametrize("protocol", [None, "openimages"])
def test_intervals_and_comparisons_are_the_same_in_blocks_of_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str | None
) -> None:
    # Where no image is complete, two labels have no negative, and the protocol leaves them out.
    store = with_two_runs(tmp_path / "s", complete=0.0 if protocol else 0.2)

    def found() -> tuple[Any, Any]:
        chosen = PROTOCOLS[protocol] if protocol else None
        evaluation = evaluate(store, "run", protocol=chosen, bootstrap=100).to_json()
        return evaluation, compare(store, ("run", "other"), protocol=chosen, samples=100).to_json()

    whole = found()
    for step, difference in whole[1]["steps"].items():
        assert difference["first"] == whole[0]["ladder"][step]["mAP"]
    monkeypatch.setattr(label_columns, "CELL_BYTES", 6000)
    asked = label_columns.label_blocks
    blocks = []

    def counting(most: NDArray[np.int64], *, cells: int) -> list[slice]:
        blocks.append(asked(most, cells=cells))
        return blocks[-1]

    monkeypatch.setattr("taistore.evaluation.evaluate.label_blocks", counting)
    monkeypatch.setattr("taistore.evaluation.paired_figures.label_blocks", counting)
    assert found() == whole
    assert [len(found) > 2 for found in blocks] == [True, True]


def test_images_that_change_between_two_passes_are_noticed(tmp_path: Path) -> None:
    store = with_two_runs(tmp_path / "s", complete=0.2)
    split = labelled_split(store, "run", Scope(split="test"))
    for _ in range(2):
        assert sum(len(batch.image_ids) for batch in split.batches()) == 60
    (first,) = (b.slice(0, 1) for b in store.scan("images") if b.num_rows)
    store.upsert("images", [{**first.to_pylist()[0], "positives": [7], "complete": True}])
    with pytest.raises(ScoringError, match="were changed by another job meanwhile: run this again"):
        list(split.batches())


LIMIT_MIB = 700
"""What an evaluation may take beyond what its process had: 64 MiB of cells, and one batch."""

JOB = """
import json, resource, sys
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.evaluation import label_columns
from taistore.evaluation.evaluate import evaluate
from taistore.store.store import Store

label_columns.CELL_BYTES = 64 * 2**20
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
store = Store.open(sys.argv[1])
before = peak_bytes()
found = evaluate(store, "run")
print(json.dumps([peak_bytes() - before, found.images, found.warnings]))
"""


def test_seven_thousand_labels_take_bounded_memory_and_no_disk(tmp_path: Path) -> None:
    """2,400 complete images: matrices of 4 steps and the truth took 293 MB of temporary disk."""
    images, labels = 2400, 7186
    random = np.random.default_rng(0)
    known = [{"positives": random.integers(labels, size=5).tolist()} for _ in range(images)]
    store_of(tmp_path / "s", [f"n{n}" for n in range(labels)], known)
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path / "s")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak, seen, warnings = json.loads(done.stdout)
    assert seen == images
    assert not any("not kept" in warning for warning in warnings)
    assert peak < LIMIT_MIB * 2**20
