"""Evaluating a run on a real store of colour pictures."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.errors import ScoringError, StoreError, TrainingError
from taistore.evaluation import label_columns as columns_module
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.metrics import metrics
from taistore.scoring.ladders.competition import Competition
from taistore.scoring.ladders.ladder import ADAPTER_LADDER, Ladder
from taistore.store.store import Store
from tests.fakes import ColourEncoder, colour_image
from tests.scoring.colours import (
    LOGIT_ENERGY,
    LOGIT_SPREAD,
    NAMES,
    PICTURES,
    add_images,
    add_pictures,
    add_run,
    image_row,
    new_store,
    prompts,
    run_path,
)

PLAIN_LADDER = tuple(step for step in ADAPTER_LADDER if step != "discriminant")


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def store(tmp_path: Path, encoder: ColourEncoder) -> Store:
    return new_store(tmp_path / "store", encoder)


def by_hand(store: Store, encoder: ColourEncoder, *, regions: bool) -> dict[str, float]:
    """mAP of every step without store or job."""
    pixels = np.stack([encoder.prepare(colour_image(*colours)) for colours in PICTURES])
    vectors = encoder.encode_images(pixels, regions=2)
    assert vectors.regions is not None
    truth = np.array([[name in colours for name in NAMES] for colours in PICTURES], np.int8)
    competition = Competition.over_texts(spread=LOGIT_SPREAD, energy=LOGIT_ENERGY)
    adapter = load_adapter(run_path(store))
    ladder = Ladder(prompts(encoder), adapter.logits, competition=competition)
    scores = ladder.scores(
        vectors.whole.astype(np.float16), vectors.regions.astype(np.float16) if regions else None
    )
    return {
        step: 100 * metrics(scores_BN.numpy(), truth).mean_average_precision
        for step, scores_BN in scores.items()
    }


@pytest.mark.parametrize("grid", [0, 2])
def test_the_ladder_equals_the_one_by_hand(
    store: Store, encoder: ColourEncoder, tmp_path: Path, grid: int
) -> None:
    add_pictures(store, encoder, grid=grid)
    run_id = add_run(store, encoder)
    found = evaluate(store, run_id).to_json()
    expected = by_hand(store, encoder, regions=bool(grid))
    assert list(found["ladder"]) == list(expected)
    for step, value in expected.items():
        assert found["ladder"][step]["mAP"] == pytest.approx(value, abs=0.01)
    assert found["images"] == len(PICTURES)
    assert found["regions_used"] == bool(grid)
    assert any("regions are left out" in warning for warning in found["warnings"]) == (not grid)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_labels_are_reported_with_positives_and_ap(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    pictures = [colours for colours in PICTURES if "white" not in colours]
    rows = [image_row(n, colours) for n, colours in enumerate(pictures)]
    add_images(store, encoder, rows, pictures, grid=2)
    found = evaluate(store, add_run(store, encoder))
    by_key = {label["key"]: label for label in found.to_json()["labels"]}
    assert list(by_key) == store.labels.keys
    assert by_key["RED"] == {
        "key": "RED",
        "name": "red",
        "positives": 2,
        "AP": 100.0,
        "AP_by_step": dict.fromkeys(found.ladder, 100.0),
    }
    assert by_key["WHITE"]["positives"] == 0
    assert by_key["WHITE"]["AP"] is None
    assert found.labels_without_positives == 1
    frame = found.frame()
    assert frame.columns == ["label_key", "label_name", "positives", *found.ladder]
    assert frame.row(0) == ("RED", "red", 2, *(1.0 for _ in found.ladder))
    assert frame.filter(label_key="WHITE").select(*found.ladder).row(0) == (None,) * len(
        found.ladder
    )
    assert frame["adapter"].mean() == pytest.approx(found.ladder["adapter"].mean_average_precision)


def test_unknown_cells_and_unlabelled_images_are_left_out(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_pictures(store, encoder)
    run_id = add_run(store, encoder)
    before = evaluate(store, run_id)
    red = {"complete": False, "positives": [0], "negatives": [1]}
    extra = [
        image_row(100, ["red"], **red),
        image_row(101, ["blue"], complete=False, positives=[]),  # nothing known
        image_row(102, ["blue"], split="train"),
    ]
    add_images(store, encoder, extra, [["red"], ["blue"], ["blue"]])
    after = evaluate(store, run_id)
    assert after.images == before.images + 1
    assert (before.images_without_labels, after.images_without_labels) == (0, 1)
    assert "of the split left out" not in before.table()
    assert "1 more of the split left out: no known label" in after.table()
    positives = {label.key: label.positives for label in after.labels}
    assert positives["RED"] == 1 + next(x.positives for x in before.labels if x.key == "RED")
    assert positives["BLUE"] == next(x.positives for x in before.labels if x.key == "BLUE")


def test_figures_are_written_into_the_run(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_pictures(store, encoder)
    add_pictures(store, encoder, first=100, split="val")
    run_id = add_run(store, encoder)
    found = evaluate(store, run_id).to_json()
    evaluate(store, run_id, split="val")
    recorded = store.run(run_id).metrics
    assert recorded["loss"] == 0.1
    assert sorted(recorded["evaluation"]) == ["test", "val"]
    assert recorded["evaluation"]["test"]["ladder"] == found["ladder"]


def test_an_adapter_that_loses_is_announced(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_pictures(store, encoder)
    run_id = add_run(store, encoder, network="paper")  # random weights
    found = evaluate(store, run_id)
    assert found.warnings[0].startswith("the adapter loses to standardised zero-shot")
    assert "WARNING: the adapter loses" in found.table()


def test_figures_that_are_counted_are_the_same(
    store: Store, encoder: ColourEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_pictures(store, encoder, grid=2)
    run_id = add_run(store, encoder)
    in_memory = evaluate(store, run_id).to_json()
    monkeypatch.setattr(columns_module, "CELL_BYTES", 0)
    assert evaluate(store, run_id).to_json() == in_memory


def test_the_table_shows_every_step_with_its_gain(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_pictures(store, encoder, grid=2)
    table = evaluate(store, add_run(store, encoder)).table()
    assert "12 images of split 'test', 6 of 6 labels with positives, with regions" in table
    for step in PLAIN_LADDER:
        assert any(line.startswith(step) for line in table.splitlines())
    assert "best labels (ensemble)" in table
    assert "worst labels (ensemble)" in table


def refused(store: Store, encoder: ColourEncoder, **changes: Any) -> str:
    """The message of the error that evaluating raises."""
    options = {"run_id": "run-1"} | changes
    with pytest.raises((ScoringError, StoreError, TrainingError)) as caught:
        evaluate(store, options.pop("run_id"), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_refusal_names_its_remedy(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    assert "no run 'run-1'" in refused(store, encoder)
    add_run(store, encoder)
    assert "split 'test' holds no images: ingest a manifest" in refused(store, encoder)
    store.append("images", [image_row(1, ["red"], complete=False, positives=[])])
    assert "none of the 1 images of split 'test' has known labels" in refused(store, encoder)
    store.append("images", [image_row(2, ["red"], split="mine")])
    message = refused(store, encoder)
    assert "name one of those that have them ('mine' (1)) with split=, or put" in message
    assert message.endswith("'taistore ingest-images MANIFEST --split test'")
    assert "none of the 1 labelled images" in refused(store, encoder, split="mine")
    blind = image_row(3, ["red"], split="no", complete=False, positives=[], negatives=[2])
    add_images(store, encoder, [blind], [["red"]])
    assert "is known to show any label" in refused(store, encoder, split="no")


def test_runs_of_another_encoder_or_without_checkpoint_are_refused(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    add_pictures(store, encoder)
    other = ColourEncoder(name="other")
    add_run(store, other, run_id="other")
    assert "holds no vectors of encoder 'other_32_32'" in refused(store, encoder, run_id="other")
    run_id = add_run(store, encoder)
    store.record_run(dataclasses.replace(store.run(run_id), checkpoint=str(tmp_path / "gone")))
    assert "no trained adapter here" in refused(store, encoder)
    store.record_run(dataclasses.replace(store.run(run_id), status="running"))
    # Its row says running, but no process holds its lock.
    assert "run run-1 is not finished (stopped, last seen 2" in refused(store, encoder)
