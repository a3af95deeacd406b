"""Probabilities from scores: a label's own sigmoid, drawn towards that of all."""

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.evaluation.calibration.average_cut import best_average_cut
from taistore.evaluation.calibration.shrunk_platt import Sigmoid, label_sigmoid, pooled_sigmoid

TRUE = Sigmoid(1.5, -2.0)


def cells(
    count: int, sigmoid: Sigmoid, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    random = np.random.default_rng(seed)
    scores = random.normal(size=count).astype(np.float32)
    chance = 1 / (1 + np.exp(-sigmoid.logits(scores)))
    return scores, (random.random(count) < chance).astype(np.int8)


def test_the_common_sigmoid_is_that_which_made_the_cells() -> None:
    found = pooled_sigmoid(*cells(200_000, TRUE))
    assert found == pytest.approx(TRUE, abs=0.03)


def test_a_label_with_many_cells_has_its_own_and_one_with_none_that_of_all() -> None:
    own = Sigmoid(2.0, 0.5)
    assert label_sigmoid(TRUE, *cells(200_000, own)) == pytest.approx(own, abs=0.05)
    assert label_sigmoid(TRUE, *cells(0, own)) == TRUE


def test_a_few_cells_move_a_label_a_little() -> None:
    far = label_sigmoid(TRUE, *cells(200_000, Sigmoid(1.5, 1.0)))
    near = label_sigmoid(TRUE, *cells(10, Sigmoid(1.5, 1.0)))
    assert TRUE.offset < near.offset < far.offset


def test_a_label_that_no_image_shows_is_unlikely_but_not_impossible() -> None:
    scores, truth = cells(300, TRUE)
    found = label_sigmoid(TRUE, scores, np.zeros_like(truth))
    assert found.offset < TRUE.offset
    best = 1 / (1 + np.exp(-found.logits(scores).max()))
    assert 1e-4 < best < 0.5


def test_higher_scores_are_never_less_likely() -> None:
    scores = np.linspace(-3, 3, 400).astype(np.float32)
    found = label_sigmoid(TRUE, scores, (scores < 0).astype(np.int8))
    assert found.slope > 0


def test_equal_scores_have_the_share_of_positives() -> None:
    scores, truth = np.full(100, 2.0, np.float32), (np.arange(100) < 25).astype(np.int8)
    found = pooled_sigmoid(scores, truth)
    assert 1 / (1 + np.exp(-found.logits(scores)[0])) == pytest.approx(0.25, abs=0.01)


def test_the_average_cut_is_the_best_of_all() -> None:
    scores, truth = cells(500, TRUE)

    def f1(cut: float) -> float:
        right = ((scores >= cut) & (truth == 1)).sum()
        return float(2 * right / ((scores >= cut).sum() + truth.sum()))

    found = best_average_cut(scores, truth)
    assert f1(found) == max(f1(float(cut)) for cut in scores)
    assert best_average_cut(scores, np.zeros_like(truth)) > scores.max()
