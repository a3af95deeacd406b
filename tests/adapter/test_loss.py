"""Eq. 3 against torch and NumPy: the same gradients without a dense target."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from taistore.adapter.loss import bce_value, sparse_bce


def batch(rows: int, labels: int, rate: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [B, N] and a dense target [B, N]."""
    random = torch.Generator().manual_seed(seed)
    logits_BN = 6 * torch.randn(rows, labels, generator=random)
    target_BN = (torch.rand(rows, labels, generator=random) < rate).float()
    return logits_BN, target_BN


def flat(target_BN: torch.Tensor) -> torch.Tensor:
    return target_BN.view(-1).nonzero()[:, 0]


def paper_loss(logits_BN: NDArray[np.float64], target_BN: NDArray[np.float64]) -> float:
    """Eq. 3, as it is written."""
    p_BN = 1 / (1 + np.exp(-logits_BN))
    terms_BN = target_BN * np.log(p_BN) + (1 - target_BN) * np.log(1 - p_BN)
    return float(np.mean(-terms_BN.mean(axis=1)))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 9),
    labels=st.integers(1, 40),
    rate=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_gradient_and_value_equal_the_dense_ones(
    rows: int, labels: int, rate: float, seed: int
) -> None:
    logits_BN, target_BN = batch(rows, labels, rate, seed)
    dense_BN = logits_BN.clone().requires_grad_()
    dense = F.binary_cross_entropy_with_logits(dense_BN, target_BN)
    torch.autograd.backward(dense)
    sparse_BN = logits_BN.clone().requires_grad_()
    torch.autograd.backward(sparse_bce(sparse_BN, flat(target_BN)))
    assert sparse_BN.grad is not None
    assert dense_BN.grad is not None
    torch.testing.assert_close(sparse_BN.grad, dense_BN.grad, atol=1e-8, rtol=1e-5)
    value = bce_value(logits_BN, flat(target_BN))
    assert value == pytest.approx(float(dense.detach()), rel=1e-5, abs=1e-6)
    expected = paper_loss(logits_BN.double().numpy(), target_BN.double().numpy())
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_gradients_flow_through_a_network_and_scale() -> None:
    logits_BN, target_BN = batch(8, 5, 0.3, 1)
    grads = []
    for loss in ("sparse", "dense"):
        torch.manual_seed(0)
        layer = torch.nn.Linear(5, 5)
        out_BN = layer(logits_BN)
        if loss == "sparse":
            torch.autograd.backward(3 * sparse_bce(out_BN, flat(target_BN)))
        else:
            torch.autograd.backward(3 * F.binary_cross_entropy_with_logits(out_BN, target_BN))
        grads.append(layer.weight.grad)
    torch.testing.assert_close(grads[0], grads[1], atol=1e-7, rtol=1e-5)


def test_large_logits_stay_finite() -> None:
    logits_BN = torch.tensor([[200.0, -200.0]], requires_grad=True)
    wrong = torch.tensor([1])
    torch.autograd.backward(sparse_bce(logits_BN, wrong))
    assert logits_BN.grad is not None
    torch.testing.assert_close(logits_BN.grad, torch.tensor([[0.5, -0.5]]))
    assert bce_value(logits_BN, wrong) == pytest.approx(200.0)


def test_unknown_cells_get_no_gradient_and_known_ones_that_of_torch() -> None:
    torch.manual_seed(0)
    truth = torch.randint(-1, 2, (7, 5))
    logits = torch.randn(7, 5, requires_grad=True)
    positives, negatives = ((truth == v).view(-1).nonzero()[:, 0] for v in (1, 0))
    dense = (
        torch.nn.functional.binary_cross_entropy_with_logits(
            logits, (truth == 1).float(), weight=(truth >= 0).float(), reduction="sum"
        )
        / (truth >= 0).sum()
    )
    (expected,) = torch.autograd.grad(dense, logits)
    torch.autograd.backward(sparse_bce(logits, positives, negatives))
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected)
    assert torch.all(logits.grad[truth == -1] == 0)
    assert bce_value(logits.detach(), positives, negatives) == pytest.approx(float(dense.detach()))


def test_a_batch_of_unknown_cells_alone_moves_nothing() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    nothing = torch.empty(0, dtype=torch.int64)
    torch.autograd.backward(sparse_bce(logits, nothing, nothing))
    assert logits.grad is not None
    assert not logits.grad.any()
    assert bce_value(logits.detach(), nothing, nothing) == 0


@pytest.mark.parametrize("partial", [False, True])
def test_row_weights_multiply_the_cells_of_their_row(partial: bool) -> None:
    torch.manual_seed(0)
    truth = torch.randint(-1 if partial else 0, 2, (7, 5))
    logits = torch.randn(7, 5, requires_grad=True)
    weights_B = torch.rand(7)
    positives, absent = ((truth == v).view(-1).nonzero()[:, 0] for v in (1, 0))
    known = (truth >= 0).float()
    dense = (
        torch.nn.functional.binary_cross_entropy_with_logits(
            logits, (truth == 1).float(), weight=known * weights_B[:, None], reduction="sum"
        )
        / known.sum()
    )
    (expected,) = torch.autograd.grad(dense, logits)
    negatives = absent if partial else None
    torch.autograd.backward(sparse_bce(logits, positives, negatives, row_weights=weights_B))
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected)
    value = bce_value(logits.detach(), positives, negatives, row_weights=weights_B)
    assert value == pytest.approx(float(dense.detach()), rel=1e-5)
