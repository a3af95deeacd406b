"""A configuration is checked once, and the error names field, value and what is allowed."""

import re
from typing import Any

import pytest

from taistore.adapter.config import TrainConfig
from taistore.errors import TrainingError


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("task", "pll2", "one of zsl"),
        ("network", "deep", "residual, paper"),
        ("where", "outside", "surface, interior"),
        ("epochs", 0, "whole number from 1"),
        ("batch", 1.5, "whole number from 1"),
        ("batch", True, "whole number from 1"),
        ("hidden", -1, "whole number from 0"),
        ("seed", -1, "whole number from 0"),
        ("dropout", 1.0, "at least 0 and below 1"),
        ("lr", 0.0, "above 0"),
        ("lr", float("inf"), "above 0"),
        ("weight_decay", -0.1, "at least 0"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any, allowed: str) -> None:
    with pytest.raises(TrainingError, match=rf"^{field} .*not allowed: give .*{allowed}"):
        TrainConfig(**{field: value})


def test_a_wrong_radius_is_named() -> None:
    with pytest.raises(TrainingError, match="radius 'far'"):
        TrainConfig(radius="far")


def test_json_round_trip() -> None:
    config = TrainConfig.paper(seed=3, radius=25.0)
    assert TrainConfig.from_json(config.to_json()) == config
    with pytest.raises(TrainingError, match="unknown field 'colour'"):
        TrainConfig.from_json({**config.to_json(), "colour": 1})


def test_paper_settings() -> None:
    config = TrainConfig.paper(hidden=64)
    assert (config.network, config.epochs, config.batch, config.lr) == ("paper", 60, 64, 1e-4)
    assert config.hidden == 64
    with pytest.raises(TrainingError, match="hidden 0 is not allowed"):
        TrainConfig.paper(hidden=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "fsl"}, "needs shots"),
        ({"task": "pll", "shots": 2}, "shots 2 is for task fsl"),
        ({"task": "zsl", "known": 0.5}, "known 0.5 is for task pll"),
        ({"task": "pll", "known": 0.0}, "known 0.0 is not allowed"),
        ({"task": "pll", "known": 1.5}, "known 1.5 is not allowed"),
        ({"task": "zsl", "shift": "plain"}, "task zsl with shift 'plain'"),
        ({"task": "zsl", "learn_from": "both"}, "task zsl with learn_from 'both'"),
        ({"task": "pll", "shift": "far"}, "shift 'far'"),
        ({"task": "pll", "image_radius": "much"}, "image_radius 'much'"),
        ({"task": "pll", "image_weight": 0.0}, "image_weight 0.0"),
        ({"task": "pll", "pseudo_counts": -1.0}, "pseudo_counts -1.0"),
    ],
)
def test_settings_of_another_task_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(message)):
        TrainConfig(**settings)


def test_auto_is_written_out_by_task() -> None:
    assert (TrainConfig().learn_from, TrainConfig().shift) == ("texts", "none")
    pll = TrainConfig(task="pll")
    assert (pll.learn_from, pll.shift) == ("both", "neighbours")
    assert (pll.text_radius(10), TrainConfig().text_radius(10)) == (10, 25)


def test_the_papers_settings_by_task() -> None:
    pll = TrainConfig.paper(task="pll")
    assert (pll.learn_from, pll.shift, pll.text_radius(10)) == ("texts", "plain", 10)
    fsl = TrainConfig.paper(task="fsl", shots=4)
    assert (fsl.learn_from, fsl.shift) == ("both", "none")
    assert (fsl.text_radius(10), fsl.image_radius_at(10)) == (25, 1)
