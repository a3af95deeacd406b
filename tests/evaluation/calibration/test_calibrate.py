"""Calibrating a run on a real store of colour pictures, and tagging by it."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest

from taistore.adapter.known_labels import save_known
from taistore.adapter.run_files.file_names import CALIBRATION
from taistore.errors import ScoringError
from taistore.evaluation import label_columns
from taistore.evaluation.calibration.calibrate import calibrate
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.labelled_scores import LabelledSplit, Scope
from taistore.scoring.cuts.calibration_file import Calibration, read_calibration, save_calibration
from taistore.scoring.loaded_run import open_run
from taistore.scoring.score import score
from taistore.scoring.tagging import tag_store
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.scoring.colours import PICTURES, add_pictures, add_run, new_store, run_path

ENCODER = ColourEncoder()
ROUNDS = 12
"""Times that all pictures are in the validation split: a colour is in 24 photos or more."""


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calibrate") / "store"
    store = new_store(path, ENCODER)
    for turn in range(ROUNDS):
        add_pictures(store, ENCODER, first=100 * turn, split="val")
    add_pictures(store, ENCODER, first=9_000, split="test")
    add_run(store, ENCODER)
    return path


@pytest.fixture
def store(filled: Path) -> Store:
    for path in (filled / "runs" / "run-1").glob("*.json"):
        if path.name != "card.json":
            path.unlink()
    return Store.open(filled)


def test_labels_get_a_threshold_or_hear_what_they_lack(store: Store) -> None:
    found = calibrate(store, "run-1", precision=0.9)
    assert found.images == ROUNDS * len(PICTURES)
    assert read_calibration(run_path(store)) == found
    by_key = {label.key: label for label in found.labels}
    # Blue is in three pictures, so in 36 photos. Pictures score alike, so that the cut of 22 takes
    # 24 along; the next one, of 38, has two wrong ones, where one may be.
    blue = [cut for cut in by_key["BLUE"].cuts if cut.precision == 0.9]
    assert [(cut.right, cut.tagged) for cut in blue] == [(24, 24)]
    assert by_key["BLUE"].more == 0
    less = calibrate(store, "run-1", precision=0.99)
    assert {label.more for label in less.labels} != {0}
    assert all(label.more is None or label.more > 0 for label in less.labels)


def test_tags_follow_the_thresholds(store: Store, tmp_path: Path) -> None:
    found = calibrate(store, "run-1", precision=0.9)
    run = open_run(store, "run-1")
    frame = tag_store(run, split="test", precision=0.9, known="ignore").to_arrow()
    tags = list(zip(*(frame.column(c).to_pylist() for c in ("image_id", "label_key")), strict=True))
    cuts = {
        one.key: cut.threshold for one in found.labels for cut in one.cuts if cut.precision == 0.9
    }
    having = set(cuts)
    split = LabelledSplit(store, run, Scope(split="test"))
    expected = [
        (image_id.decode(), key)
        for batch in split.batches()
        for image_id, scores_N in zip(batch.image_ids, batch.scores[found.step], strict=True)
        for key, score_ in zip(store.labels.keys, scores_N.tolist(), strict=True)
        if score_ >= cuts.get(key, np.inf)
    ]
    assert set(tags) - {(i, "") for i, _ in tags} == set(expected)
    assert 0 < len(expected) < len(PICTURES) * len(store.labels)
    summary = score(store, "run-1", None, tmp_path / "tags.jsonl", precision=0.9, known="ignore")
    assert summary.labels_without_cut == len(store.labels) - len(having)
    assert summary.scores == "probability"
    rows = [json.loads(line) for line in (tmp_path / "tags.jsonl").read_text().splitlines()]
    assert {row["label_key"] for row in rows} <= having
    # The lowest of the labels' thresholds, as the probability that a tag's score is.
    assert summary.least_score is not None
    assert 0 < summary.least_score <= min(row["score"] for row in rows) + 1e-6
    scale = {one.key: (one.slope, one.offset) for one in found.labels}
    least = min(1 / (1 + np.exp(-scale[key][0] * cut - scale[key][1])) for key, cut in cuts.items())
    assert summary.least_score == pytest.approx(least, abs=1e-6)
    average = score(store, "run-1", None, tmp_path / "average.jsonl", known="ignore")
    assert average.least_score == found.threshold
    # 0.8 was looked at as well, 0.85 was not.
    score(store, "run-1", None, tmp_path / "more.jsonl", precision=0.8)
    with pytest.raises(ScoringError, match=r"'taistore calibrate run-1 --precision 0.85'"):
        score(store, "run-1", None, tmp_path / "none.jsonl", precision=0.85)


def test_what_is_known_overrides_a_threshold(store: Store, tmp_path: Path) -> None:
    calibrate(store, "run-1", precision=0.99)
    tags = tag_store(open_run(store, "run-1"), split="test", precision=0.99).to_arrow()
    assert tags.num_rows >= sum(len(row) for row in PICTURES) - 2
    assert set(tags.column("score").to_pylist()) == {1.0}


def test_the_same_where_not_all_cells_fit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = calibrate(store, "run-1")
    monkeypatch.setattr(label_columns, "CELL_BYTES", 20_000)
    parts = calibrate(store, "run-1")
    assert parts.labels == whole.labels
    assert parts.ladder == whole.ladder


def test_evaluate_shows_what_became_of_the_promise(store: Store) -> None:
    assert evaluate(store, "run-1").reached is None
    calibrate(store, "run-1", precision=0.9)
    found = evaluate(store, "run-1")
    assert found.reached is not None
    assert not found.reached.same_images
    assert found.reached.precision == 1.0
    assert found.to_json()["precision"]["labels_kept"] == len(found.reached.tested) > 0
    assert "precision promised 0.9 by split 'val'" in found.table()
    assert "this is no test" in evaluate(store, "run-1", split="val").table()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights_digest": "0" * 64}, "has other weights than when it was calibrated"),
        ({"step": "zero_shot"}, None),
        ({"with_regions": 5, "images": 5}, "calibrated on images with regions"),
    ],
    ids=["weights", "step", "regions"],
)
def test_a_calibration_of_something_else_is_refused(
    store: Store, tmp_path: Path, change: dict[str, object], said: str | None
) -> None:
    found = calibrate(store, "run-1")
    other = Calibration.from_json({**found.to_json(), **change})
    save_calibration(run_path(store), other)
    if said is None:
        said = "calibrated for step zero_shot, not for ensemble"
        with pytest.raises(ScoringError, match=said):
            score(store, "run-1", None, tmp_path / "a.csv", precision=0.9, step="ensemble")
        return
    with pytest.raises(ScoringError, match=said):
        score(store, "run-1", None, tmp_path / "a.csv", precision=0.9)
    # Who asks for no precision is told, and gets what an uncalibrated run gives.
    summary = score(store, "run-1", None, tmp_path / "b.csv")
    assert said in summary.cut
    assert summary.scores == "order"
    assert any(said in warning for warning in evaluate(store, "run-1").warnings)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"run_id": 3}', '{"a": NaN}'], ids=["empty", "list", "type", "nan"]
)
def test_a_damaged_file_is_named(store: Store, tmp_path: Path, text: str) -> None:
    calibrate(store, "run-1")
    (run_path(store) / CALIBRATION).write_text(text, encoding="utf-8")
    with pytest.raises(ScoringError, match=r"calibration.json: not a calibration .*calibrate"):
        score(store, "run-1", None, tmp_path / "a.csv")
    calibrate(store, "run-1")
    score(store, "run-1", None, tmp_path / "a.csv")


def test_without_labels_scores_are_an_order(tmp_path: Path) -> None:
    store = new_store(tmp_path / "store", ENCODER)
    add_run(store, ENCODER)
    add_pictures(store, ENCODER, positives=[], complete=False, split="val")
    with pytest.raises(ScoringError, match="an order and no probability") as caught:
        calibrate(store, "run-1")
    assert "\n" not in str(caught.value)
    with pytest.raises(ScoringError, match="is not calibrated, so that its scores are an order"):
        score(store, "run-1", None, tmp_path / "a.csv", precision=0.9)


def test_the_splits_that_have_labels_are_named(store: Store) -> None:
    with pytest.raises(ScoringError, match=r"name one of those that have them .*'val' \(144\)"):
        calibrate(store, "run-1", split="nowhere")


def test_images_that_were_learnt_from_are_no_evidence(store: Store) -> None:
    images = PartialLabels.read(store, split="val")
    half = images.take(np.arange(len(images) // 2))
    save_known(run_path(store), half)
    try:
        found = calibrate(store, "run-1")
        left = len(images) - len(half)
        assert (found.learnt, found.images) == (len(half), left)
        assert {label.known for label in found.labels} == {left}
        save_known(run_path(store), images)
        with pytest.raises(ScoringError, match="has read the labels of all 144"):
            calibrate(store, "run-1")
    finally:
        (run_path(store) / "known-labels.parquet").unlink()


def _calibrate(uri: str) -> str:
    try:
        calibrate(Store.open(uri), "run-1")
    except Exception as error:
        return str(error)
    return ""


def test_two_at_once_leave_one_whole_calibration(store: Store) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        said = pool.map(_calibrate, [store.uri, store.uri])
    assert "" in said
    assert all(not text or "wait for it" in text for text in said)
    assert read_calibration(run_path(store)) is not None
    assert sorted(path.name for path in run_path(store).iterdir()) == [
        *("adapter.safetensors", CALIBRATION, "card.json", "prompts.safetensors")
    ]
