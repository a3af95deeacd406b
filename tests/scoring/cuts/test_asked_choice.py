"""Which step ranks and which labels are tags where little or nothing is said."""

import numpy as np
import pytest
import torch

from taistore import defaults
from taistore.errors import ScoringError
from taistore.scoring.choosing import Chooser, Images
from taistore.scoring.cuts.asked_choice import asked_choice
from taistore.scoring.cuts.image_share import stands_out
from taistore.scoring.cuts.step_choice import best_step, evaluated_step
from taistore.scoring.ladders.ladder import Ladder
from taistore.scoring.loaded_run import open_run
from taistore.scoring.selection import Choice, chosen_tags
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_pictures, add_run, new_store

ENCODER = ColourEncoder()
STEPS = ("zero_shot", "standardised", "ensemble")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = new_store(tmp_path_factory.mktemp("asked") / "store", ENCODER)
    add_pictures(store, ENCODER)
    add_run(store, ENCODER)
    return store


def test_the_best_on_average_is_the_default(store: Store) -> None:
    asked = asked_choice(open_run(store, "run-1"), regions=False)
    assert asked.choice.share
    assert asked.choice.top_k == defaults.MOST_TAGS
    assert asked.told()["scores"] == "order"
    assert "confidence 0.25 and a share of 0.1" in asked.cut
    assert "'val' was not evaluated" in asked.step_why
    assert asked.least_score == defaults.CUT_CONFIDENCE


@pytest.mark.parametrize(
    ("options", "top_k", "cut", "least"),
    [
        ({"top_k": 5}, 5, "the best 5", None),
        ({"threshold": 0.3}, None, "threshold 0.3", 0.3),
        ({"threshold": 0.3, "top_k": 2}, 2, "the best 2, threshold 0.3", 0.3),
        ({"step": "zero_shot"}, 5, "the best 5: zero_shot has no scale to cut by", None),
    ],
    ids=["top-k", "threshold", "both", "cosines"],
)
def test_what_is_said_is_done(
    store: Store, options: dict[str, object], top_k: int | None, cut: str, least: float | None
) -> None:
    run = open_run(store, "run-1")
    asked = asked_choice(run, regions=False, **options)  # type: ignore[arg-type]
    assert not asked.choice.share
    assert (asked.choice.top_k, asked.cut, asked.least_score) == (top_k, cut, least)


def test_precision_and_a_threshold_are_one_too_many(store: Store) -> None:
    run = open_run(store, "run-1")
    with pytest.raises(ScoringError, match="leave out threshold="):
        asked_choice(run, regions=False, precision=0.9, threshold=0.1)


def test_a_tag_is_sure_enough_and_stands_out() -> None:
    there = torch.ones(1, 20, dtype=torch.bool)
    flat = torch.full((1, 20), 0.6)
    # Twenty equal labels have a share of 0.05 each.
    assert not stands_out(flat, there).any()
    one = flat.clone()
    one[0, 0] = 0.999
    assert stands_out(one, there).tolist()[0] == [True] + 19 * [False]
    unsure = torch.full((1, 2), 0.2)
    assert not stands_out(unsure, there[:, :2]).any()
    assert stands_out(flat[:, :2], there[:, :2]).all()
    assert not stands_out(flat[:, :2], ~there[:, :2]).any()


def test_what_is_known_has_no_part_in_the_cut() -> None:
    scores = torch.tensor([[9.0, 3.0, 2.0, -9.0]])
    known = np.array([[-1, 1, 0, 1]], np.int8)
    choice = Choice(step="ensemble", top_k=20, share=True)
    tags, values = chosen_tags(scores, choice, known_BN=known)
    assert tags.label_id.tolist() == [1, 3, 0]
    assert values[:2].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("labels", [1_100, 3_000], ids=str)
def test_short_lists_give_the_same_tags(labels: int) -> None:
    random = np.random.default_rng(0)
    prompts = random.normal(size=(labels, 32)).astype(np.float32)
    ladder = Ladder(prompts)
    # Each image shows two labels, and a little of chance.
    shown = prompts[:40] + prompts[40:80] + 0.5 * random.normal(size=(40, 32))
    whole = shown.astype(np.float16)
    images = Images([str(n) for n in range(40)], whole, None)
    choice = Choice(step="standardised", top_k=20, share=True, steps=("standardised",))
    short = Chooser(ladder, choice)
    tags, values = short(images)
    assert short._found[0]["standardised"] is not None
    scores = ladder.scores(whole, None, steps=["standardised"])["standardised"]
    plain, plain_values = chosen_tags(scores, choice)
    both = set(zip(tags.row.tolist(), tags.label_id.tolist(), strict=True))
    expected = set(zip(plain.row.tolist(), plain.label_id.tolist(), strict=True))
    # A share within rounding of the cut may fall on either side.
    assert len(both ^ expected) <= 1
    assert 20 <= len(expected) < 40 * 10
    assert values.mean() == pytest.approx(plain_values.mean(), abs=0.01)


@pytest.mark.parametrize(
    ("percent", "step", "why"),
    [
        ({"zero_shot": 70.0, "ensemble": 80.0}, "ensemble", "no step beats clearly"),
        ({"zero_shot": 80.4, "ensemble": 80.0}, "ensemble", "no step beats clearly"),
        ({"zero_shot": 81.0, "ensemble": 80.0}, "zero_shot", "mAP 81.0 on 'val', where ensemble"),
        ({"zero_shot": 81.0}, "ensemble", "has no mAP of it"),
    ],
    ids=["worse", "hardly", "better", "unknown"],
)
def test_a_step_must_beat_the_top_clearly(percent: dict[str, float], step: str, why: str) -> None:
    found = best_step(STEPS, percent, split="val")  # type: ignore[arg-type]
    assert found.step == step
    assert why in found.why


def test_only_the_validation_split_chooses() -> None:
    ladder = {"zero_shot": {"mAP": 90.0}, "ensemble": {"mAP": 80.0}, "standardised": {"mAP": None}}
    for split, step in (("val", "zero_shot"), ("test", "ensemble")):
        metrics = {"evaluation": {split: {"ladder": ladder}}}
        assert evaluated_step(STEPS, metrics).step == step  # type: ignore[arg-type]
