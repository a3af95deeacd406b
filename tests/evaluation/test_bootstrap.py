"""The bootstrap over images against resampling in a plain loop, and what its intervals cover."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from taistore.evaluation import bootstrap as module
from taistore.evaluation.bootstrap import (
    ResampledMean,
    Resamples,
    interval,
    resampled_precision,
    two_sided_p,
)
from taistore.evaluation.label_columns import LabelCells
from taistore.evaluation.metrics import average_precision, mean_average_precision

Matrix = NDArray[Any]


def resampled_mean(precision_SN: Matrix) -> Matrix:
    """mAP [S] of all labels at once."""
    mean = ResampledMean(len(precision_SN))
    mean.add(precision_SN)
    return mean.values()


def data(images: int, labels: int, *, seed: int, rare: float = 0.3) -> tuple[Matrix, Matrix]:
    """Scores with many ties, and truth with unknown cells and labels without positives."""
    random = np.random.default_rng(seed)
    truth = (random.random((images, labels)) < rare).astype(np.int8)
    scores = np.round(truth + random.standard_normal((images, labels)), 1).astype(np.float32)
    truth[random.random(truth.shape) < 0.2] = -1
    truth[:, 0] = np.minimum(truth[:, 0], 0)
    return scores, truth


def cells(scores: Matrix, truth: Matrix) -> list[LabelCells]:
    """The columns of the matrices, unknown cells left out."""
    known = [np.flatnonzero(column >= 0) for column in truth.T]
    return [LabelCells(at, truth[at, n], scores[at, n]) for n, at in enumerate(known)]


def by_loop(scores: Matrix, truth: Matrix, resamples: Resamples) -> Matrix:
    """The same draws, one resample after another, through the metric itself."""
    random = np.random.default_rng(resamples.seed)
    rows = []
    for _ in range(resamples.count):
        drawn = random.integers(len(scores), size=len(scores))
        rows.append(average_precision(scores[drawn], truth[drawn]))
    return np.array(rows)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 10_000), st.floats(0.02, 0.9))
def test_it_equals_resampling_in_a_loop(images: int, labels: int, seed: int, rare: float) -> None:
    scores, truth = data(images, labels, seed=seed, rare=rare)
    resamples = Resamples(images, 8, seed)
    expected = by_loop(scores, truth, resamples)
    found = resampled_precision(cells(scores, truth), resamples)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    means = [mean_average_precision(row) for row in expected]
    np.testing.assert_allclose(resampled_mean(found), means, atol=1e-5)


def test_it_is_the_same_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, truth = data(50, 7, seed=1)
    resamples = Resamples(50, 30, 4)
    at_once = resampled_precision(cells(scores, truth), resamples)
    monkeypatch.setattr(module, "BLOCK_CELLS", 120)
    blocks = [block for block, _ in resamples.blocks()]
    assert len(blocks) == 15
    np.testing.assert_array_equal(resampled_precision(cells(scores, truth), resamples), at_once)


def test_every_resample_draws_as_many_images() -> None:
    for _, drawn in Resamples(20, 50, 0).blocks():
        assert drawn.shape == (20, 50)
        assert (drawn.sum(axis=0) == 20).all()
    (first,) = (drawn for _, drawn in Resamples(20, 50, 0).blocks())
    (other,) = (drawn for _, drawn in Resamples(20, 50, 1).blocks())
    assert not np.array_equal(first, other)


def population(images: int, random: np.random.Generator) -> tuple[Matrix, Matrix]:
    """Independent images of one distribution; its mAP is that of very many of them."""
    truth = (random.random((images, 4)) < 0.3).astype(np.int8)
    return 1.5 * truth + random.standard_normal((images, 4)), truth


def test_intervals_cover_the_true_value_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    true = mean_average_precision(average_precision(*population(200_000, random)))
    trials, covered = 200, 0
    for trial in range(trials):
        scores, truth = population(150, random)
        found = resampled_precision(cells(scores, truth), Resamples(150, 200, trial))
        low, high = interval(resampled_mean(found))
        covered += low <= true <= high
    # 95 % nominal; the AP of few images is biased upwards, which costs a little.
    assert 0.87 <= covered / trials <= 0.99


def test_p_values_are_uniform_where_nothing_differs() -> None:
    random = np.random.default_rng(1)
    below = 0
    for trial in range(200):
        truth = (random.random((100, 2)) < 0.3).astype(np.int8)
        resamples = Resamples(100, 199, trial)
        means = [
            resampled_mean(
                resampled_precision(
                    cells(truth + random.standard_normal((100, 2)), truth), resamples
                )
            )
            for _ in range(2)
        ]
        below += two_sided_p(means[1] - means[0]) <= 0.1
    assert 0.04 <= below / 200 <= 0.18


def test_p_values_at_their_ends() -> None:
    assert two_sided_p(np.zeros(99)) == 1.0
    assert two_sided_p(np.ones(99)) == pytest.approx(0.02)
    assert two_sided_p(-np.ones(99)) == pytest.approx(0.02)
    assert np.isnan(two_sided_p(np.full(9, np.nan)))


def test_intervals_are_percentiles_of_what_is_there() -> None:
    values = np.append(np.arange(1001.0), [np.nan, np.nan])
    assert interval(values) == pytest.approx((25.0, 975.0))
    assert interval(values, level=0.5) == pytest.approx((250.0, 750.0))
    assert np.isnan(interval(np.full(3, np.nan))).all()
