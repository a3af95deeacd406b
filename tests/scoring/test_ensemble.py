"""Ensembles: the average of scaled score matrices, as a run like any other."""

import dataclasses
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from taistore.adapter.run_files.file_names import CARD
from taistore.errors import ScoringError, StoreError
from taistore.evaluation.evaluate import evaluate
from taistore.scoring.ensembles.ensemble import MEMBER_STEPS, EnsembleCard, load_ensemble
from taistore.scoring.ensembles.make_ensemble import EnsembleSummary, make_ensemble
from taistore.scoring.ladders.ladder import ZERO_SHOT_STEPS
from taistore.scoring.loaded_run import open_run
from taistore.scoring.score import score
from taistore.scoring.stored_images import stored_batches
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_pictures, add_run, new_store, run_path

STEPS = (*ZERO_SHOT_STEPS, *MEMBER_STEPS)
Vectors = tuple[NDArray[Any], NDArray[Any] | None]


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


def with_runs(path: Path, encoder: ColourEncoder, *, grid: int = 2) -> Store:
    """A store of pictures with two runs that differ."""
    store = new_store(path, encoder)
    add_pictures(store, encoder, grid=grid)
    add_run(store, encoder, run_id="first")
    torch.manual_seed(5)
    add_run(store, encoder, run_id="second", network="paper")
    return store


@pytest.fixture
def store(tmp_path: Path, encoder: ColourEncoder) -> Store:
    return with_runs(tmp_path / "store", encoder)


def ensemble(
    store: Store,
    encoder: ColourEncoder,
    *runs: str,
    weights: list[float] | None = None,
    split: str | None = None,
) -> EnsembleSummary:
    return make_ensemble(store, runs, weights=weights, split=split)


def vectors(store: Store, encoder: ColourEncoder, *, regions: bool) -> Vectors:
    batches = stored_batches(store, encoder.info.encoder_id, columns=(), regions=regions)
    (batch,) = batches
    return batch.whole_BD, batch.regions_BRD


def scores_of(
    store: Store, encoder: ColourEncoder, run_id: str, *, regions: bool
) -> dict[str, NDArray[Any]]:
    run = open_run(store, run_id)
    found = run.ladder.scores(*vectors(store, encoder, regions=regions))
    return {step: scores.numpy() for step, scores in found.items()}


@pytest.mark.parametrize("regions", [True, False])
def test_scores_are_the_papers_rule_over_the_whole_matrix(
    store: Store, encoder: ColourEncoder, regions: bool
) -> None:
    made = ensemble(store, encoder, "first", "second", weights=[1, 3])
    found = scores_of(store, encoder, made.run_id, regions=regions)
    parts = [scores_of(store, encoder, r, regions=regions) for r in ("first", "second")]
    assert list(found) == [step for step in parts[0] if step != "adapter_logits"]
    for step in found:
        if step in ZERO_SHOT_STEPS:
            np.testing.assert_array_equal(found[step], parts[0][step])
            continue
        scaled = [(p[step] - p[step].min()) / np.ptp(p[step]) for p in parts]
        expected = 0.25 * scaled[0] + 0.75 * scaled[1]
        np.testing.assert_allclose(found[step], expected, atol=1e-5)


def test_scores_do_not_depend_on_the_batch_and_are_not_clipped(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    store = with_runs(tmp_path / "store", encoder, grid=0)
    made = ensemble(store, encoder, "first", "second")
    run = open_run(store, made.run_id)
    whole, _ = vectors(store, encoder, regions=False)
    at_once = run.ladder.scores(whole, steps=["ensemble"])["ensemble"]
    alone = run.ladder.scores(whole[3:4], steps=["ensemble"])["ensemble"]
    torch.testing.assert_close(at_once[3:4], alone)
    assert float(at_once.min()) >= 0
    assert float(at_once.max()) <= 1 + 1e-6
    outside = run.ladder.scores(-10 * whole, steps=["adapter"])["adapter"]
    assert float(outside.min()) < 0


def test_it_is_evaluated_scored_and_shown_like_any_run(
    store: Store, encoder: ColourEncoder, tmp_path: Path
) -> None:
    made = ensemble(store, encoder, "first", "second")
    row = store.run("latest")
    assert (row.run_id, row.task, row.status) == (made.run_id, "ensemble", "finished")
    assert row.config["members"] == ["first", "second"]
    assert made.run_id.startswith("ensemble-")
    found = evaluate(store, made.run_id)
    single = evaluate(store, "first")
    assert list(found.ladder) == list(STEPS)
    for step in ZERO_SHOT_STEPS:
        assert (
            found.ladder[step].mean_average_precision == single.ladder[step].mean_average_precision
        )
    assert "evaluation" in store.run(made.run_id).metrics
    out = tmp_path / "tags.jsonl"
    assert score(store, made.run_id, None, out, known="ignore").images == 12
    values = [json.loads(line)["score"] for line in out.read_text().splitlines()]
    assert 0 < min(values) < max(values) < 1


def test_confidence_is_that_of_a_member_where_all_are_alike(
    store: Store, encoder: ColourEncoder
) -> None:
    add_run(store, encoder, run_id="again")
    made = ensemble(store, encoder, "first", "again")
    nested = ensemble(store, encoder, "first", made.run_id)
    expected = open_run(store, "first").ladder
    for run_id in (made.run_id, nested.run_id):
        ladder = open_run(store, run_id).ladder
        for regions in (True, False):
            given = vectors(store, encoder, regions=regions)
            for step in MEMBER_STEPS:
                torch.testing.assert_close(
                    ladder.confidence(step, ladder.scores(*given)[step], regions=regions),
                    expected.confidence(step, expected.scores(*given)[step], regions=regions),
                    atol=1e-5,
                    rtol=1e-4,
                )


def test_the_card_says_what_it_is_made_of(store: Store, encoder: ColourEncoder) -> None:
    made = ensemble(store, encoder, "first", "second", weights=[2, 2], split="test")
    card = load_ensemble(made.checkpoint)
    assert [(m.run_id, m.weight) for m in card.members] == [("first", 0.5), ("second", 0.5)]
    assert (card.split, card.images) == ("test", 12)
    assert "not clipped" in card.rule
    low, high = card.members[0].range("adapter", regions=True)
    found = scores_of(store, encoder, "first", regions=True)["adapter"]
    assert (low, high) == pytest.approx((found.min(), found.max()))
    assert EnsembleCard.from_json(json.loads(json.dumps(card.to_json()))) == card


def test_ranges_without_regions_serve_photos_scored_with_them(
    tmp_path: Path, encoder: ColourEncoder
) -> None:
    bare = with_runs(tmp_path / "bare", encoder, grid=0)
    made = ensemble(bare, encoder, "first", "second")
    assert made.members[0].regions is None
    run = open_run(bare, made.run_id)
    whole, _ = vectors(bare, encoder, regions=False)
    assert run.ladder.scores(whole, whole[:, None])["adapter"].isfinite().all()


def refusal(store: Store, encoder: ColourEncoder, *runs: str, **options: Any) -> str:
    with pytest.raises((ScoringError, StoreError)) as caught:
        make_ensemble(store, runs, **options)
    assert "\n" not in str(caught.value)
    assert len(store.runs()) == 2
    return str(caught.value)


def test_what_does_not_fit_together_is_refused(store: Store, encoder: ColourEncoder) -> None:
    assert "at least two members" in refusal(store, encoder, "first")
    assert "first is given twice" in refusal(store, encoder, "first", "second", "first")
    assert "second is given twice" in refusal(store, encoder, "second", "latest")
    assert "no run 'third'" in refusal(store, encoder, "first", "third")
    message = refusal(store, encoder, "first", "second", weights=[1])
    assert "1 weights for 2 runs" in message
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        message = refusal(store, encoder, "first", "second", weights=[1, wrong])
        assert "give numbers above 0" in message
    with pytest.raises(ScoringError, match="no image of split 'none' has a vector"):
        ensemble(store, encoder, "first", "second", split="none")


def test_members_of_another_encoder_are_refused(store: Store, encoder: ColourEncoder) -> None:
    other = ColourEncoder(name="other")
    store.register_encoder(other.info)
    add_run(store, other, run_id="third")
    with pytest.raises(ScoringError, match="an ensemble has one encoder"):
        ensemble(store, encoder, "first", "third")


def test_unfinished_members_are_refused(store: Store, encoder: ColourEncoder) -> None:
    store.record_run(dataclasses.replace(store.run("second"), status="running"))
    with pytest.raises(Exception, match="second is not finished"):
        ensemble(store, encoder, "first", "second")


@pytest.mark.parametrize("damage", ["gone", "broken", "other", "row", "card", "card gone", "loop"])
def test_what_was_damaged_later_is_one_line(
    store: Store, encoder: ColourEncoder, damage: str
) -> None:
    made = ensemble(store, encoder, "first", "second")
    expected = f"run {made.run_id} is an ensemble, and its member second"
    if damage == "gone":
        shutil.rmtree(run_path(store, "second"))
    elif damage == "broken":
        (run_path(store, "second") / "adapter.safetensors").write_bytes(b"x")
    elif damage == "other":
        shutil.rmtree(run_path(store, "second"))
        shutil.copytree(run_path(store, "first"), run_path(store, "second"))
    elif damage == "row":
        store.record_run(dataclasses.replace(store.run("second"), status="failed"))
    elif damage == "card":
        (made.checkpoint / CARD).write_text("{}")
        expected = "not a card of an ensemble"
    elif damage == "card gone":
        (made.checkpoint / CARD).unlink()
        expected = "cannot be read"
    elif damage == "loop":
        text = (made.checkpoint / CARD).read_text()
        (made.checkpoint / CARD).write_text(text.replace('"second"', f'"{made.run_id}"'))
        expected = "its card.json is that of"
    with pytest.raises(ScoringError) as caught:
        open_run(store, made.run_id)
    assert expected in str(caught.value)
    assert "taistore ensemble" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_weight_is_another_digest(store: Store, encoder: ColourEncoder) -> None:
    digests = {
        open_run(
            store,
            ensemble(store, encoder, "first", "second", weights=[1, weight]).run_id,
        ).weights_digest
        for weight in (1.0, 2.0)
    }
    assert len(digests) == 2
    assert datetime.now(UTC) > store.run("latest").created


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": "12"}, "images: input should be a valid integer"),
        ({"members": []}, "members: there are none"),
        ({"weight": float("nan")}, "members.0.weight: input should be a finite number"),
        ({"whole": {}}, "members.0.whole: the range of adapter_global is missing"),
        (
            {"whole": {key: [2, 1] for key in MEMBER_STEPS}},
            "the range of adapter_global is 2.0 to 1",
        ),
        ({"weight": 7.0}, "members: the sum of their weights is 7.5, not 1"),
        ({"whole": {key: [-1e308, 1e308] for key in MEMBER_STEPS}}, "the range of adapter_global"),
        ({"colour": 1}, "colour: unexpected keyword argument"),
    ],
)
def test_a_tampered_card_is_refused_with_its_field(
    store: Store, encoder: ColourEncoder, change: dict[str, Any], message: str
) -> None:
    made = ensemble(store, encoder, "first", "second")
    card = json.loads((made.checkpoint / CARD).read_text())
    for name, value in change.items():
        (card["members"][0] if name in ("weight", "whole") else card)[name] = value
    (made.checkpoint / CARD).write_text(json.dumps(card))
    with pytest.raises(ScoringError, match=r"card\.json: not a card of an ensemble") as caught:
        load_ensemble(made.checkpoint)
    assert message in str(caught.value)


@pytest.mark.parametrize("weights", [(-0.5, 1.5), (1.5, -0.5)])
def test_a_weight_below_zero_is_refused_though_the_sum_is_one(
    store: Store, encoder: ColourEncoder, weights: tuple[float, float]
) -> None:
    made = ensemble(store, encoder, "first", "second")
    card = json.loads((made.checkpoint / CARD).read_text())
    for member, weight in zip(card["members"], weights, strict=True):
        member["weight"] = weight
    (made.checkpoint / CARD).write_text(json.dumps(card))
    with pytest.raises(ScoringError) as caught:
        open_run(store, made.run_id)
    said = f"members.{weights.index(-0.5)}.weight: -0.5 is below 0"
    assert f"{made.checkpoint / CARD}: not a card of an ensemble ({said})" in str(caught.value)
    assert "\n" not in str(caught.value)
