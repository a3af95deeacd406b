"""Thresholds with a stated precision: the bound, the cuts, and whether the promise is kept."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from taistore.evaluation.calibration.precision_cuts import (
    cut_sizes,
    lower_bound,
    more_images,
    precision_cut,
)


def tail(right: int, tagged: int, share: float) -> float:
    """How likely so many or more are right."""
    return sum(
        math.comb(tagged, k) * share**k * (1 - share) ** (tagged - k)
        for k in range(right, tagged + 1)
    )


@given(st.integers(1, 60), st.data(), st.floats(0.5, 0.99))
def test_the_bound_is_that_of_clopper_and_pearson(
    tagged: int, data: st.DataObject, confidence: float
) -> None:
    right = data.draw(st.integers(1, tagged))
    low = lower_bound(right, tagged, confidence=confidence)
    assert tail(right, tagged, low) == pytest.approx(1 - confidence, rel=1e-6)


@given(st.floats(0.3, 0.97), st.floats(0.6, 0.99))
def test_sizes_are_the_fewest_that_allow_so_many_wrong_ones(
    precision: float, confidence: float
) -> None:
    sizes, wrong = cut_sizes(precision, confidence, most=120)
    for size, allowed in zip(sizes.tolist(), wrong.tolist(), strict=True):
        assert lower_bound(size - allowed, size, confidence=confidence) >= precision - 1e-9
        if size - 1 > allowed:
            assert lower_bound(size - 1 - allowed, size - 1, confidence=confidence) < precision


def sample(
    random: np.random.Generator, images: int, middle: float
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Scores, and labels that are the more likely the higher the score."""
    scores = random.normal(size=images).astype(np.float32)
    chance = 1 / (1 + np.exp(-2.0 * (scores - middle)))
    return scores, (random.random(images) < chance).astype(np.int8)


@pytest.mark.parametrize("precision", [0.7, 0.9])
@pytest.mark.parametrize("middle", [-0.5, 0.3])
def test_nine_of_ten_labels_keep_their_promise(precision: float, middle: float) -> None:
    # The precision of any threshold, from a population so large that it is known.
    scores, truth = sample(np.random.default_rng(99), 2_000_000, middle)
    order = np.argsort(-scores)
    true_precision = np.cumsum(truth[order]) / np.arange(1, len(order) + 1)
    sorted_scores = -scores[order]
    random = np.random.default_rng(0)
    broken = made = 0
    for _ in range(1_000):
        cut = precision_cut(*sample(random, 400, middle), precision=precision, confidence=0.9)
        if cut is None:
            continue
        made += 1
        tagged = int(np.searchsorted(sorted_scores, -cut.threshold, side="right"))
        broken += true_precision[max(tagged, 1) - 1] < precision
    assert made > 200
    # 10 % of 1,000 labels, and three standard deviations of chance.
    assert broken <= 100 + 3 * math.sqrt(90)


def test_a_cut_says_what_it_rests_on() -> None:
    scores = np.arange(100, 0, -1).astype(np.float32)
    truth = (np.arange(100) < 30).astype(np.int8)
    cut = precision_cut(scores, truth, precision=0.9, confidence=0.9)
    assert cut is not None
    assert (cut.tagged, cut.right, cut.threshold) == (22, 22, 79.0)
    assert cut.lower == pytest.approx(0.1 ** (1 / 22))
    assert precision_cut(scores, truth, precision=0.95, confidence=0.9) is None
    # Lower promises reach further down.
    further = precision_cut(scores, truth, precision=0.5, confidence=0.9)
    assert further is not None
    assert further.threshold < cut.threshold


def test_equal_scores_are_tagged_together() -> None:
    scores = np.ones(60, np.float32)
    assert (
        precision_cut(scores, (np.arange(60) < 30).astype(np.int8), precision=0.9, confidence=0.9)
        is None
    )
    cut = precision_cut(scores, np.ones(60, np.int8), precision=0.9, confidence=0.9)
    assert cut is not None
    assert cut.tagged == 60


@pytest.mark.parametrize(
    ("right", "wrong", "more"),
    [(0, 0, 22), (0, 50, 22), (10, 50, 12), (21, 0, 1), (0, 1, 22)],
    ids=str,
)
def test_what_is_lacking_is_reckoned_from_the_best_cut(right: int, wrong: int, more: int) -> None:
    scores = np.arange(right + wrong, 0, -1).astype(np.float32)
    truth = (np.arange(right + wrong) < right).astype(np.int8)
    assert more_images(scores, truth, precision=0.9, confidence=0.9) == more


def test_more_of_the_same_does_not_help_where_the_best_are_wrong() -> None:
    truth = np.tile([0, 1], 50).astype(np.int8)
    scores = np.arange(100, 0, -1).astype(np.float32)
    assert more_images(scores, truth, precision=0.9, confidence=0.9) is None
