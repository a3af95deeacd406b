"""Comparing two runs on the same images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.evaluation.comparison import Comparison, compare
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.labelled_scores import Scope, labelled_split
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.scoring.ladders.ladder import Step
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.scoring.colours import (
    PICTURES,
    add_images,
    add_pictures,
    add_run,
    image_row,
    new_store,
)


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


def with_runs(path: Path, encoder: ColourEncoder, *, grid: int = 2) -> Store:
    store = new_store(path, encoder)
    add_pictures(store, encoder, grid=grid)
    add_run(store, encoder, run_id="good")
    add_run(store, encoder, run_id="blind", network="paper")
    return store


def compared(store: Store, encoder: ColourEncoder, **options: Any) -> Comparison:
    runs = options.pop("runs", ("good", "blind"))
    return compare(store, runs, **{"samples": 100, **options})


def scores_and_truth(
    store: Store, encoder: ColourEncoder, run_id: str, step: Step
) -> tuple[NDArray[Any], NDArray[Any]]:
    (batch,) = labelled_split(store, run_id, Scope(split="test")).batches()
    return batch.scores[step], batch.truth_BN


def test_differences_are_those_of_the_evaluations_and_of_a_plain_loop(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    store = with_runs(tmp_path / "s", encoder)
    found = compared(store, encoder, seed=3)
    ladders = [evaluate(store, r).ladder for r in ("good", "blind")]
    assert list(found.steps) == list(ladders[0])
    for step, difference in found.steps.items():
        assert difference.first == ladders[0][step].mean_average_precision
        assert difference.second == ladders[1][step].mean_average_precision
    good, truth = scores_and_truth(store, encoder, "good", "adapter")
    blind, _ = scores_and_truth(store, encoder, "blind", "adapter")
    # Rows are paired in the order of the image ids.
    order = image_order(store)
    random = np.random.default_rng(3)
    apart = []
    for _ in range(100):
        rows = order[random.integers(len(order), size=len(order))]
        both = [
            mean_average_precision(average_precision(scores[rows], truth[rows]))
            for scores in (good, blind)
        ]
        apart.append(both[1] - both[0])
    adapter = found.steps["adapter"]
    expected = np.quantile(apart, [0.025, 0.975])
    assert (adapter.low, adapter.high) == pytest.approx(expected, abs=1e-6)
    assert adapter.p == pytest.approx(2 / 101)  # no resample on the other side


def image_order(store: Store) -> NDArray[np.int64]:
    ids = [i for b in store.scan("images", columns=["image_id"]) for i in b.column(0).to_pylist()]
    return np.argsort(np.array(ids))


def test_steps_without_a_run_do_not_differ(tmp_path: Path, encoder: ColourEncoder) -> None:
    found = compared(with_runs(tmp_path / "s", encoder), encoder)
    for step in ("zero_shot", "standardised", "regions"):
        difference = found.steps[step]
        assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)


def test_labels_are_compared_at_the_top(tmp_path: Path, encoder: ColourEncoder) -> None:
    store = with_runs(tmp_path / "s", encoder, grid=0)
    found = compared(store, encoder)
    assert found.top == "ensemble"
    assert found.steps["adapter"] == found.steps["adapter_global"]
    assert [label.key for label in found.labels] == store.labels.keys
    value = found.to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["labels"][0]["positives"] == 3
    frame = found.frame()
    assert frame["label_key"].to_list() == store.labels.keys
    for row, label in zip(frame.iter_rows(named=True), value["labels"], strict=True):
        for name in ("first", "second", "difference", "low", "high"):
            expected = None if label[name] is None else pytest.approx(label[name] / 100, abs=1e-4)
            assert row[name] == expected
    table = found.table()
    assert "100 paired resamples (seed 0)" in table
    assert "labels that lose most (ensemble)" in table


def test_runs_of_two_encoders_are_compared_on_the_images_of_both(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    store = with_runs(tmp_path / "s", encoder, grid=0)
    other = ColourEncoder(name="other")
    store.register_encoder(other.info)
    rows = [image_row(n, colours) for n, colours in enumerate(PICTURES)]
    new = image_row(50, ["red"])
    add_images(store, other, [*rows[4:], new], [*PICTURES[4:], ("red",)])
    add_run(store, other, run_id="other")
    found = compare(store, ("good", "other"), samples=100)
    assert (found.images, found.left_out) == (8, 5)
    # Both encoders are alike, and so are then the figures.
    assert found.steps["ensemble"].value == pytest.approx(0, abs=1e-6)


def test_what_cannot_be_compared_is_refused(tmp_path: Path, encoder: ColourEncoder) -> None:
    store = with_runs(tmp_path / "s", encoder)
    with pytest.raises(ScoringError, match="blind is compared with itself"):
        compared(store, encoder, runs=("latest", "blind"))
    other = ColourEncoder(name="other")
    store.register_encoder(other.info)
    add_images(store, other, [image_row(99, ["red"])], [["red"]])
    add_run(store, other, run_id="other")
    with pytest.raises(ScoringError, match="share no labelled images of split 'test'"):
        compared(store, encoder, runs=("good", "other"))
