"""A configuration is checked once, and the error names field, value and what is allowed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from taistore.adapter.config import TrainConfig
from taistore.errors import TrainingError


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("task", "pll2", "one of zsl"),
        ("network", "deep", "residual, paper, small"),
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
    assert (TrainConfig.paper().hidden, TrainConfig.paper(network="small").hidden) == (2048, 512)
    assert TrainConfig.of(network="small", seed=3) == TrainConfig.paper(network="small", seed=3)
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
        (
            {"task": "zsl", "learn_from": "both"},
            "task zsl with learn_from 'both' is not allowed: give one of texts, synthetic, texts+",
        ),
        (
            {"task": "fsl", "shots": 1, "learn_from": "synthetic"},
            "synthetic images are for task zsl, not fsl: give learn_from texts, images or both",
        ),
        (
            {"task": "pll", "shift": "synthetic"},
            "synthetic images are for task zsl, not pll: give learn_from texts, images or both",
        ),
        ({"shift": "synthetic", "neighbours": 9}, "neighbours 9 is for shift neighbours"),
        ({"shift": "synthetic", "split": "test"}, "split 'test' is for a shift"),
        ({"learn_from": "synthetic", "loss": "partial-bce"}, "loss 'partial-bce' is for task fsl"),
        ({"shift": "synthetic", "pseudo_counts": 1.0}, "pseudo_counts 1.0 is for task fsl or pll"),
        ({"task": "pll", "shift": "far"}, "shift 'far'"),
        ({"task": "pll", "image_radius": "much"}, "image_radius 'much'"),
        ({"task": "pll", "pseudo_counts": -1.0}, "pseudo_counts -1.0"),
        ({"task": "zsl", "shot_seed": 1}, "shot_seed 1 is for task fsl"),
        ({"task": "fsl", "shots": 1, "mask_seed": 1}, "mask_seed 1 is for task pll"),
        ({"task": "zsl", "pseudo_counts": 2.0}, "pseudo_counts 2.0 is for task fsl or pll"),
        ({"task": "zsl", "image_batch": 8}, "image_batch 8 is for learn_from synthetic or"),
        ({"task": "zsl", "image_radius": 1.0}, "image_radius 1.0 is for learn_from synth"),
        ({"task": "zsl", "image_where": "interior"}, "image_where 'interior' is for learn_from"),
        ({"task": "zsl", "shift": "none", "neighbours": 9}, "neighbours 9 is for shift neighbours"),
        ({"task": "zsl", "shift": "none", "split": "test"}, "split 'test' is for a shift"),
        ({"task": "pll", "shift": "plain", "neighbour_share": 0.1}, "neighbour_share 0.1 is for"),
        ({"loss": "partial-bce"}, "loss 'partial-bce' is for task fsl or pll"),
        (
            {"task": "pll", "learn_from": "texts", "loss": "partial-bce"},
            "loss 'partial-bce' is for learn_from images or both",
        ),
        ({"loss": "ranking"}, "method adapter with loss 'ranking' is not allowed: give one of bce"),
        ({"dropout": 0.1}, "dropout 0.1 is for hidden layers"),
        ({"network": "small", "hidden": 8, "start_deviation": 2.0}, "is for network residual"),
    ],
)
def test_settings_of_another_task_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=re.escape(message)):
        TrainConfig(**settings)


def test_synthetic_images_get_the_noise_of_texts() -> None:
    settled = TrainConfig(learn_from="texts+synthetic").settled("none")
    assert (settled.image_radius, settled.radius, settled.image_where) == (
        "2.5x",
        "2.5x",
        "surface",
    )
    assert TrainConfig.paper(learn_from="synthetic").settled("none").image_radius_at(10) == 1
    assert TrainConfig(shift="synthetic").settled("synthetic").text_radius(10) == 12.5


def test_auto_is_written_out_by_task() -> None:
    assert (TrainConfig().learn_from, TrainConfig().shift) == ("texts", "auto")
    pll = TrainConfig(task="pll")
    assert (pll.learn_from, pll.shift) == ("both", "neighbours")
    assert (pll.neighbour_rule, TrainConfig().neighbour_rule) == ((1, 1 / 2), (2, 2 / 3))
    assert pll.settled("neighbours").text_radius(10) == 10
    assert TrainConfig().settled("none").text_radius(10) == 25
    assert TrainConfig().settled("neighbours").text_radius(10) == 12.5
    assert TrainConfig(radius=3).settled("neighbours").text_radius(10) == 3


def test_the_papers_settings_by_task() -> None:
    pll = TrainConfig.paper(task="pll")
    assert (pll.learn_from, pll.shift) == ("texts", "plain")
    assert pll.settled("plain").text_radius(10) == 10
    fsl = TrainConfig.paper(task="fsl", shots=4)
    assert (fsl.learn_from, fsl.shift) == ("both", "none")
    assert (fsl.settled("none").text_radius(10), fsl.image_radius_at(10)) == (25, 1)
    assert (fsl.where, fsl.image_place) == ("surface", "interior")


def test_the_papers_radii_are_absolute_for_rn50() -> None:
    fsl = TrainConfig.paper(task="fsl", shots=4).settled("none", rn50=True)
    assert (fsl.radius, fsl.image_radius) == (25.0, 1.0)
    assert TrainConfig.paper(task="pll").settled("plain", rn50=True).radius == 10.0
    assert TrainConfig.paper().settled("none", rn50=True).text_radius(9.3) == 25.0
    assert TrainConfig.paper(radius="2x").settled("none", rn50=True).radius == "2x"
    assert TrainConfig().settled("none", rn50=True).radius == "2.5x"
    other = TrainConfig.paper(task="fsl", shots=4).settled("none")
    assert (other.radius, other.image_radius) == ("2.5x", "0.1x")


BEFORE = {
    "task": "zsl", "network": "residual", "hidden": 0, "dropout": 0.5, "epochs": 20, "batch": 128,
    "lr": 1e-3, "weight_decay": 0.01, "radius": "auto", "where": "surface", "seed": 0,
    "device": "auto", "split": "all", "shots": 0, "shot_seed": 0, "known": 1.0, "mask_seed": 0,
    "learn_from": "texts", "shift": "neighbours", "pseudo_counts": 4.0, "neighbours": 0,
    "image_radius": "auto", "image_batch": 64, "image_weight": 1.0, "text_weights": "",
}  # fmt: skip
"""A card's settings as the first taistore wrote them."""


def test_settings_of_an_earlier_version_keep_their_meaning() -> None:
    """When a default changes, from_json must go on giving these."""
    zsl = TrainConfig.from_json(BEFORE)
    assert (zsl.neighbour_rule, zsl.start_deviation) == ((2, 2 / 3), 3.0)
    assert (zsl.text_radius(10), zsl.image_radius_at(10), zsl.loss) == (12.5, 10, "bce")
    assert TrainConfig.from_json({**BEFORE, "shift": "none"}).text_radius(10) == 25
    pll = TrainConfig.from_json({**BEFORE, "task": "pll", "learn_from": "both", "shift": "shrunk"})
    assert (pll.shift, pll.neighbour_rule) == ("neighbours", (0, 1 / 2))
    assert (pll.text_radius(10), pll.loss) == (10, "bce")
    paper = TrainConfig.from_json({**BEFORE, "network": "paper", "hidden": 512, "shift": "none"})
    assert (paper.network, paper.hidden) == ("small", 512)
    inside = {**BEFORE, "task": "fsl", "shots": 1, "learn_from": "both", "where": "interior"}
    assert TrainConfig.from_json(inside).image_place == "interior"
    assert TrainConfig.from_json({**BEFORE, "mask_seed": 3, "pseudo_counts": 2.0}).mask_seed == 0
    with pytest.raises(TrainingError, match="unknown field 'image_weight'"):
        TrainConfig.from_json({**BEFORE, "image_weight": 0.5})


def test_a_file_holds_some_fields(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('task = "fsl"\nshots = 4\nradius = 2\n[text_weights]\nopenai = 3\n')
    assert TrainConfig.from_file(file, shots=2) == TrainConfig(
        task="fsl", shots=2, radius=2, text_weights="openai=3"
    )
    file.write_text('network = "paper"\nepochs = 3\n')
    assert TrainConfig.from_file(file) == TrainConfig.paper(epochs=3)


def test_a_card_is_such_a_file(tmp_path: Path) -> None:
    config = TrainConfig.paper(task="pll", known=0.5).settled("plain")
    (tmp_path / "card.json").write_text(json.dumps({"run_id": "a", "config": config.to_json()}))
    assert TrainConfig.from_file(tmp_path / "card.json") == config
    assert TrainConfig.from_file(tmp_path / "card.json", seed=3).seed == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 0", "epochs 0 is not allowed"),
        ('lr = "high"', "lr 'high' is not allowed"),
        ("lr = nan", "lr nan is not allowed"),
        ("colour = 1", "unknown field 'colour'"),
        ("epochs", "neither TOML nor a run's card"),
        ("config = 3", "holds no settings"),
    ],
)
def test_a_wrong_file_is_named_with_its_field(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(TrainingError, match=r"run\.toml: .*" + re.escape(message)) as caught:
        TrainConfig.from_file(file)
    assert "\n" not in str(caught.value)
