"""Fig. 1: what a step costs is measured on the real text transformer; guesses are marked."""

import json

import pytest
from click.testing import CliRunner

from taistore.reproduction.without_data.label_growth import (
    ADAPTERS,
    OPENIMAGES,
    LabelGrowth,
    StepCost,
    measure_growth,
    step_cost,
)
from taistore_cli.main import main


def test_a_prompt_learner_pays_for_every_label() -> None:
    few, many = (step_cost("CoOp", labels, "cpu") for labels in (4, 48))
    assert many.seconds > 3 * few.seconds > 0


@pytest.mark.parametrize("method", ADAPTERS)
def test_an_adapter_hardly_does(method: str) -> None:
    few, many = (step_cost(method, labels, "cpu") for labels in (4, 48))
    assert 0 < many.seconds < 3 * few.seconds + 0.01


def test_each_is_measured_in_a_process_of_its_own() -> None:
    found = measure_growth((2,), methods=("CoOp", "TaI-Adapter"), device="cpu")
    assert [(cost.method, cost.labels) for cost in found.costs] == [
        ("CoOp", 2),
        ("TaI-Adapter", 2),
        ("TaI-Adapter", OPENIMAGES),
    ]
    coop, few, many = found.costs
    assert many.bytes > few.bytes > 4 * 2 * 10**6
    assert found.drawn_out() == {"CoOp": coop.seconds * OPENIMAGES / 2}


def test_what_was_not_measured_is_marked() -> None:
    costs = (
        StepCost(method="CoOp", labels=20, seconds=2.0, bytes=2**20),
        StepCost(method="TaI-Adapter", labels=20, seconds=0.25, bytes=2**20),
        StepCost(method="TaI-Adapter", labels=OPENIMAGES, seconds=0.5, bytes=2**21),
    )
    found = LabelGrowth(device="cpu", threads=1, costs=costs)
    value = json.loads(json.dumps(found.to_json()))
    assert value["extrapolated"] == {"labels": OPENIMAGES, "seconds": {"CoOp": 718.6}}
    assert len(value["measured"]) == 3
    lines = found.text().splitlines()
    assert next(line for line in lines if "CoOp" in line).split() == ["CoOp", "2", "719", "*"]
    adapter = next(line for line in lines if "TaI-Adapter" in line)
    assert adapter.split() == ["TaI-Adapter", "0.25", "0.5"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fig1", "--label-counts", "0"], "different whole numbers from 1 on"),
        (["fig1", "--label-counts", "20,20"], "different whole numbers from 1 on"),
        (["fig1", "--seeds", "1"], "--seeds has no meaning for fig1"),
        (["table2", "--data", ".", "--label-counts", "20"], "--label-counts is for fig1"),
    ],
)
def test_options_that_mean_nothing_are_refused(arguments: list[str], said: str) -> None:
    found = CliRunner().invoke(main, ["reproduce", *arguments])
    assert found.exit_code == 2
    assert said in found.output
