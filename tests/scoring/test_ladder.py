"""Every step of the ladder against a plain NumPy transcription of its definition."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.geometry.unlabelled.discriminant import Discriminant
from taistore.scoring.ladders import ladder as module
from taistore.scoring.ladders.ladder import ADAPTER_LADDER, Ladder, Step, confidence

PLAIN_LADDER = tuple(step for step in ADAPTER_LADDER if step != "discriminant")

RANDOM = np.random.default_rng(2)
WHOLE = RANDOM.normal(0, 3, (10, 16)).astype(np.float16)
REGIONS = RANDOM.normal(0, 3, (10, 9, 16)).astype(np.float16)
PROMPTS = RANDOM.normal(0, 1, (5, 16)).astype(np.float32)
WEIGHT = RANDOM.normal(0, 1, (16, 5)).astype(np.float32)


def adapter(vectors_BD: torch.Tensor) -> torch.Tensor:
    """A linear adapter of raw vectors."""
    return vectors_BD @ torch.from_numpy(WEIGHT) - 1


def unit(vectors: NDArray[Any]) -> NDArray[Any]:
    vectors = vectors.astype(np.float64)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def log_shares(logits: NDArray[Any]) -> NDArray[Any]:
    """Of one image, against a "none" at 0."""
    return np.asarray(logits - np.log(1 + np.exp(logits).sum()))


def plain(whole: NDArray[Any], regions: NDArray[Any] | None) -> dict[Step, NDArray[Any]]:
    """The ladder of DESIGN.md section 5, image by image."""
    found: dict[Step, list[NDArray[Any]]] = {step: [] for step in PLAIN_LADDER}
    for i in range(len(whole)):
        cosine = unit(PROMPTS) @ unit(whole[i])
        logits = whole[i].astype(np.float64) @ WEIGHT - 1
        best_cosine, best_logits = cosine, logits
        if regions is not None:
            best_cosine = (cosine + (unit(regions[i]) @ unit(PROMPTS).T).max(0)) / 2
            best_logits = (logits + (regions[i].astype(np.float64) @ WEIGHT - 1).max(0)) / 2
        found["zero_shot"].append(cosine)
        found["standardised"].append((cosine - cosine.mean()) / cosine.std())
        found["regions"].append(best_cosine)
        found["adapter_logits"].append(logits)
        found["adapter_global"].append(log_shares(logits))
        found["adapter"].append(log_shares(best_logits))
        z = (best_cosine - best_cosine.mean()) / best_cosine.std()
        found["ensemble"].append(z + 1.5 * log_shares(best_logits))
    return {step: np.stack(rows) for step, rows in found.items()}


@pytest.mark.parametrize("cells", [2**24, 100, 1])
def test_all_steps_with_regions(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REGION_CELLS", cells)
    scores = Ladder(PROMPTS, adapter).scores(WHOLE, REGIONS)
    expected = plain(WHOLE, REGIONS)
    assert list(scores) == list(PLAIN_LADDER)
    for step, found in scores.items():
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found.numpy(), expected[step], rtol=1e-4, atol=1e-4)


def test_without_regions_the_adapter_sees_the_whole_image() -> None:
    scores = Ladder(PROMPTS, adapter).scores(WHOLE)
    expected = plain(WHOLE, None)
    assert list(scores) == [step for step in PLAIN_LADDER if step != "regions"]
    for step, found in scores.items():
        np.testing.assert_allclose(found.numpy(), expected[step], rtol=1e-4, atol=1e-4)


def test_the_papers_score_is_the_sigmoid_of_its_logits() -> None:
    """Eq. 2 of arXiv:2312.04160, and what people read of it."""
    ladder = Ladder(PROMPTS, adapter)
    logits_BN = ladder.scores(WHOLE, REGIONS)["adapter_logits"]
    expected_BN = 1 / (1 + np.exp(-(WHOLE.astype(np.float64) @ WEIGHT - 1)))
    found_BN = ladder.confidence("adapter_logits", logits_BN, regions=True)
    np.testing.assert_allclose(found_BN.numpy(), expected_BN, rtol=1e-5)


def test_one_step_alone_equals_the_same_step_of_all() -> None:
    ladder = Ladder(PROMPTS, adapter)
    for step, expected in ladder.scores(WHOLE, REGIONS).items():
        alone = ladder.scores(WHOLE, REGIONS, steps=[step])
        assert list(alone) == [step]
        torch.testing.assert_close(alone[step], expected)


def test_batches_do_not_change_scores() -> None:
    ladder = Ladder(PROMPTS, adapter)
    whole = ladder.scores(WHOLE, REGIONS)["ensemble"]
    pieces = [
        ladder.scores(WHOLE[i : i + 3], REGIONS[i : i + 3])["ensemble"] for i in range(0, 10, 3)
    ]
    torch.testing.assert_close(torch.cat(pieces), whole)


def test_steps_that_are_not_there_are_named() -> None:
    ladder = Ladder(PROMPTS)
    assert ladder.steps(regions=True) == ("zero_shot", "standardised", "regions")
    with pytest.raises(ScoringError, match="'ensemble' cannot be scored here: use zero_shot, stan"):
        ladder.scores(WHOLE, steps=["ensemble"])
    with pytest.raises(ScoringError, match="16 dimensions, label prompts 8"):
        Ladder(PROMPTS[:, :8]).scores(WHOLE)


def test_scores_that_are_no_numbers_are_refused() -> None:
    damaged = WHOLE.copy()
    damaged[3, 2] = np.nan
    with pytest.raises(ScoringError, match="'zero_shot' gave a score that is no number"):
        Ladder(PROMPTS).scores(damaged)


@pytest.mark.parametrize("step", PLAIN_LADDER)
def test_confidence_keeps_the_order_and_lies_between_0_and_1(step: Step) -> None:
    scores = Ladder(PROMPTS, adapter).scores(WHOLE, REGIONS)[step]
    values = confidence(step, scores)
    assert values.min() >= 0
    assert values.max() <= 1
    order = scores.flatten().argsort()
    assert (values.flatten()[order].diff() >= 0).all()


@pytest.mark.parametrize("gap", [0.2, 1.0])
@pytest.mark.parametrize("regions", [REGIONS, None], ids=["regions", "whole"])
def test_a_discriminant_joins_the_ensemble_where_there_is_a_gap(
    gap: float, regions: NDArray[Any] | None
) -> None:
    random = np.random.default_rng(9)
    weights, bias = random.normal(size=PROMPTS.shape), random.normal(size=len(PROMPTS))
    found = Discriminant(torch.from_numpy(weights).float(), torch.from_numpy(bias).float(), gap)
    scores = Ladder(PROMPTS, adapter, discriminant=found).scores(WHOLE, regions)

    def centred(row: NDArray[Any]) -> NDArray[Any]:
        return np.asarray((row - row.mean()) / row.std())

    for i in range(len(WHOLE)):
        parts = []
        for score in (
            lambda v: unit(v) @ unit(PROMPTS).T,
            lambda v: unit(v) @ weights.T + bias,
            lambda v: np.asarray(v, np.float64) @ WEIGHT - 1,
        ):
            row = score(WHOLE[i])
            parts.append(centred(row if regions is None else (row + score(regions[i]).max(0)) / 2))
        cosines, discriminants, logits = parts
        np.testing.assert_allclose(
            scores["discriminant"][i], (cosines + discriminants) / 2, rtol=1e-3, atol=1e-3
        )
        if gap < 0.5:
            continue
        together = (cosines + discriminants + 0.5 * logits) / 2.5
        # At the same distance from where half of the tags are right, in another unit.
        expected = (1.6 * (together - 2.5)) / 0.7 - 1.1
        np.testing.assert_allclose(scores["ensemble"][i], expected, rtol=1e-3, atol=5e-3)
    plain_scores = Ladder(PROMPTS, adapter).scores(WHOLE, regions)
    assert "discriminant" not in plain_scores
    same = torch.equal(scores["ensemble"], plain_scores["ensemble"])
    assert same == (gap < 0.5)
