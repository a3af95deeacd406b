"""What was published, and what is refused."""

import math
from typing import Any

import pytest

from taistore.adapter.config import TrainConfig
from taistore.errors import TrainingError
from taistore.jobs.training_job import train_config
from taistore.prompting.prompt_config import METHODS, PromptConfig


def test_dualcoop_in_the_tables_that_integrate_it() -> None:
    found = PromptConfig.of("dualcoop")
    assert (found.task, found.variant, found.class_specific) == ("pll", "in-tai-dpt", True)
    assert (found.context, found.epochs, found.batch, found.lr) == (16, 50, 64, 2e-3)
    assert found.temperature == pytest.approx(math.exp(3.91))
    assert found.spatial == pytest.approx(math.exp(3.0))
    assert (found.momentum, found.weight_decay, found.warm_lr) == (0.9, 5e-4, 1e-5)


def test_dualcoop_official_and_plus() -> None:
    official = PromptConfig.of("dualcoop", variant="official")
    assert (official.class_specific, official.temperature, official.spatial) == (False, 100, 20)
    assert (official.batch, official.lr) == (32, 2e-3)
    plus = PromptConfig.of("dualcoop", variant="plus")
    assert plus.spatial == pytest.approx(math.exp(3))
    assert plus.lr == 5e-3


def test_tai_dpt_and_coop() -> None:
    found = PromptConfig.of("tai-dpt")
    assert (found.task, found.temperature, found.spatial, found.spatial_test) == ("zsl", 4, 50, 40)
    assert (found.epochs, found.batch, found.lr, found.loss) == (20, 512, 1e-4, "ranking")
    assert PromptConfig.of("coop", shots=4).task == "fsl"
    # Who gives another sharpness means it for images too, unless that is given as well.
    assert PromptConfig.of("tai-dpt", spatial=9.0).spatial_test == 9
    assert PromptConfig.of("tai-dpt", spatial=9.0, spatial_test=3.0).spatial_test == 3


def test_t2i_pal_as_published() -> None:
    found = PromptConfig.of("t2i-pal")
    assert (found.task, found.learn_from, found.prototypes) == ("zsl", "texts+synthetic", "local")
    assert (found.context, found.epochs, found.batch, found.lr) == (16, 40, 64, 1e-4)
    assert (found.alpha, found.beta, found.gamma, found.loss) == (1.0, 3.5, 0.2, "ranking")
    assert found.spatial == found.spatial_test == pytest.approx(1 / 0.02)
    assert (found.temperature, found.class_specific) == (1.0, True)
    assert (found.kinds, found.shares) == (("texts", "synthetic"), (0.8, 0.2))
    assert PromptConfig.of("t2i-pal", task="pll").kinds == ("texts", "synthetic", "images")
    assert PromptConfig.of("t2i-pal", learn_from="synthetic").shares == (1.0,)
    assert PromptConfig.of("tai-dpt").kinds == ("texts",)
    assert PromptConfig.of("dualcoop").kinds == ("images",)


def test_a_configuration_from_before_t2i_pal_is_read() -> None:
    new = ("learn_from", "prototypes", "alpha", "beta", "gamma")
    found = PromptConfig.of("tai-dpt")
    kept = {name: value for name, value in found.to_json().items() if name not in new}
    assert PromptConfig.from_json(kept) == found


def test_it_comes_back_from_json() -> None:
    found = PromptConfig.of("coop", shots=2, seed=3, context_init="a photo of")
    assert PromptConfig.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("method", "settings", "told"),
    [
        ("coop", {}, "needs shots"),
        ("coop", {"task": "zsl"}, "learns from labelled images: give task=fsl or pll"),
        ("tai-dpt", {"task": "pll"}, "learns from texts: give task=zsl"),
        ("tai-dpt", {"shots": 4}, "shots 4 is for task fsl"),
        ("tai-dpt", {"split": "train"}, "split 'train' is for task fsl or pll"),
        ("dualcoop", {"shots": 4}, "shots 4 is for task fsl"),
        (
            "dualcoop",
            {"spatial_test": 9.0},
            "spatial_test 9.0 is for variants whose spatial is not",
        ),
        ("coop", {"shots": 4, "known": 0.5}, "known 0.5 is for task pll"),
        ("coop", {"shots": 4, "variant": "plus"}, "variant 'plus' is none of method coop"),
        ("dualcoop", {"variant": "plain"}, "variant 'plain' is none of method dualcoop"),
        ("dualcoop", {"variant": "new"}, "variant 'new' is not allowed"),
        ("dualcoop", {"radius": "2x"}, "'radius' is no setting of method 'dualcoop'"),
        ("dualcoop", {"context": 0}, "context 0 is not allowed"),
        ("dualcoop", {"temperature": -1.0}, "temperature -1.0 is not allowed"),
        ("dualcoop", {"loss": "hinge"}, "method dualcoop with loss 'hinge' is not allowed"),
        ("coop", {"loss": "partial-bce"}, "loss 'partial-bce' is not allowed: give one of bce, "),
        ("prompts", {}, "method 'prompts' is not allowed"),
        ("tai-dpt", {"alpha": 2.0}, "alpha 2.0 is for method t2i-pal and changes nothing"),
        ("coop", {"shots": 1, "gamma": 0.5}, "gamma 0.5 is for method t2i-pal"),
        ("dualcoop", {"prototypes": "local"}, "prototypes 'local' is for method t2i-pal"),
        ("tai-dpt", {"learn_from": "texts"}, "learn_from 'texts' is for method t2i-pal"),
        ("t2i-pal", {"learn_from": "both"}, "learn_from 'both' is not allowed: give one of texts+"),
        ("t2i-pal", {"learn_from": "texts+synthetic+images"}, "task zsl with learn_from 'texts+"),
        ("t2i-pal", {"task": "pll", "learn_from": "texts"}, "task pll with learn_from 'texts'"),
        ("t2i-pal", {"task": "fsl"}, "needs shots"),
        ("t2i-pal", {"learn_from": "texts", "gamma": 0.5}, "is for learn_from texts+synthetic"),
        ("t2i-pal", {"prototypes": "none", "beta": 2.0}, "is for prototypes local or global"),
        ("t2i-pal", {"prototypes": "all"}, "prototypes 'all' is not allowed"),
        ("t2i-pal", {"beta": 0.0}, "beta 0.0 is not allowed: give a number above 0"),
        ("t2i-pal", {"gamma": 1.5}, "gamma 1.5 is not allowed: give a number from 0 to 1"),
        ("t2i-pal", {"alpha": -1.0}, "alpha -1.0 is not allowed"),
    ],
)
def test_what_is_refused(method: Any, settings: dict[str, Any], told: str) -> None:
    with pytest.raises(TrainingError) as error:
        PromptConfig.of(method, **settings)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_published_settings_are_named_paper() -> None:
    for method in METHODS:
        needed = {"shots": 4} if method == "coop" else {}
        plain = train_config(None, needed, method=method, device="cpu")
        named = train_config(None, {**needed, "paper": True}, method=method, device="cpu")
        assert named == plain
    chosen = train_config(None, {"paper": True, "seed": 3}, method=None, device="cpu")
    assert chosen == TrainConfig.paper(seed=3, device="cpu")
    with pytest.raises(TrainingError, match="paper= is network=paper, not 'small'"):
        train_config(None, {"paper": True, "network": "small"}, method=None, device="cpu")
    with pytest.raises(TrainingError, match="paper= and config= both say"):
        train_config(chosen, {"paper": True}, method=None, device="cpu")
