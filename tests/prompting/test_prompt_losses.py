"""Losses of the prompt learners against plain transcriptions."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from taistore.prompting import prompt_losses
from taistore.prompting.prompt_losses import asymmetric, known_bce, ranking

TARGETS = np.array([[1, 0, -1, 0], [0, 1, 1, -1], [-1, -1, -1, -1]], dtype=np.int8)


def logits() -> NDArray[np.float64]:
    return np.random.default_rng(4).normal(0, 3, TARGETS.shape)


def both(values: NDArray[np.float64]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(values, requires_grad=True), torch.tensor(TARGETS)


@pytest.mark.parametrize("epsilon", [1e-6, 1e-8])
def test_asymmetric_loss(epsilon: float) -> None:
    """Gamma- 2, gamma+ 1, clip 0.05, over known cells (PEERS.md; arXiv:2009.14119)."""
    expected = 0.0
    for row, of_row in zip(logits(), TARGETS, strict=True):
        for logit, target in zip(row, of_row, strict=True):
            p = 1 / (1 + math.exp(-logit))
            if target == 1:
                expected -= (1 - p) * math.log(max(p, epsilon))
            elif target == 0:
                lowered = max(p - 0.05, 0.0)
                expected -= lowered**2 * math.log(max(1 - lowered, epsilon))
    scores, targets = both(logits())
    found = asymmetric(scores, targets, epsilon=epsilon)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-6)
    torch.autograd.backward(found)
    assert scores.grad is not None
    unknown = torch.tensor(TARGETS == -1)
    assert not scores.grad[unknown].any()
    # A negative that is sure already is left alone, a positive never is.
    assert scores.grad[~unknown].any()


def test_the_focus_of_the_asymmetric_loss_has_no_gradient() -> None:
    scores = torch.tensor([[0.7]], dtype=torch.float64, requires_grad=True)
    torch.autograd.backward(asymmetric(scores, torch.tensor([[1]]), epsilon=1e-8))
    p = 1 / (1 + math.exp(-0.7))
    assert scores.grad is not None
    assert float(scores.grad) == pytest.approx(-(1 - p) * (1 - p), rel=1e-6)


def test_known_cells_alone_count_in_cross_entropy() -> None:
    scores, targets = both(logits())
    cells = [
        math.log1p(math.exp(-z if y == 1 else z))
        for z, y in zip(logits().flat, TARGETS.flat, strict=True)
        if y >= 0
    ]
    assert float(known_bce(scores, targets).detach()) == pytest.approx(np.mean(cells), rel=1e-6)
    assert float(known_bce(scores[2:], targets[2:]).detach()) == 0


@pytest.mark.parametrize("pairs", [2**24, 4])
def test_ranking_loss(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch mean of the sum over (positive, negative) of max(0, 1 - (s+ - s-)), in blocks too."""
    monkeypatch.setattr(prompt_losses, "PAIRS", pairs)
    expected = 0.0
    for row, of_row in zip(logits(), TARGETS, strict=True):
        for high in row[of_row == 1]:
            expected += sum(max(0.0, 1 - (high - low)) for low in row[of_row == 0])
    scores, targets = both(logits())
    assert float(ranking(scores, targets).detach()) == pytest.approx(
        expected / len(TARGETS), rel=1e-6
    )
