"""Binary cross-entropy over known cells (Eq. 3 of arXiv:2312.04160): only its gradient.

B batch, N labels, P positives and Q known negatives of the batch. A target matrix [B, N] is never
built, and the value of the loss, which no step needs, is computed only where it is asked for.
"""

from typing import Any

import torch
import torch.nn.functional as F


class _SparseBCE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits_BN: torch.Tensor,
        positives_P: torch.Tensor,
        negatives_Q: torch.Tensor | None,
        scale: float | torch.Tensor,
    ) -> torch.Tensor:
        ctx.save_for_backward(logits_BN, positives_P, negatives_Q)
        ctx.scale = scale
        return logits_BN.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        logits_BN, positives_P, negatives_Q = ctx.saved_tensors
        # A cell occurs once, so that no two of these writes meet.
        if negatives_Q is None:
            gradient_BN = torch.sigmoid(logits_BN)
            flat = gradient_BN.view(-1)
            flat[positives_P] -= 1.0
        else:
            gradient_BN = torch.zeros_like(logits_BN)
            flat, logits = gradient_BN.view(-1), logits_BN.view(-1)
            flat[positives_P] = torch.sigmoid(logits[positives_P]) - 1.0
            flat[negatives_Q] = torch.sigmoid(logits[negatives_Q])
        gradient_BN *= outputs[0] * ctx.scale
        return gradient_BN, None, None, None


def sparse_bce(
    logits_BN: torch.Tensor,
    positives_P: torch.Tensor,
    negatives_Q: torch.Tensor | None = None,
    *,
    row_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """A zero to call ``backward`` on: gradients of Eq. 3, mean over known cells.

    ``logits_BN`` is contiguous [B, N]; ``positives_P`` int64 [P] holds ``row * N + label`` of
    every positive, each once, ``negatives_Q`` the same of the known negatives. None: every cell
    that is not positive is negative. Cells in neither are unknown and get no gradient. The
    gradients equal those of ``binary_cross_entropy_with_logits`` with a dense target (and the
    known cells as its weight); the returned value is 0. ``row_weights`` [B], where given, multiply
    the cells of each row.
    """
    scale: float | torch.Tensor = 1.0 / _cells(logits_BN, positives_P, negatives_Q)
    if row_weights is not None:
        scale = scale * row_weights[:, None]
    result: torch.Tensor = _SparseBCE.apply(logits_BN, positives_P, negatives_Q, scale)
    return result


def bce_value(
    logits_BN: torch.Tensor,
    positives_P: torch.Tensor,
    negatives_Q: torch.Tensor | None = None,
    *,
    row_weights: torch.Tensor | None = None,
) -> float:
    """The loss of Eq. 3, mean over the known cells, without a dense target."""
    # -log(1 - sigmoid(z)) = softplus(z); a positive label costs softplus(-z) = softplus(z) - z.
    with torch.no_grad():
        logits = logits_BN.view(-1)
        positive_P = logits[positives_P].float()

        def weighed(cost_C: torch.Tensor, cells_C: torch.Tensor) -> torch.Tensor:
            if row_weights is None:
                return cost_C
            return cost_C * row_weights[cells_C // logits_BN.shape[1]]

        if negatives_Q is None:
            cost_BN = F.softplus(logits_BN.float())
            if row_weights is not None:
                cost_BN *= row_weights[:, None]
            total = cost_BN.sum() - weighed(positive_P, positives_P).sum()
        else:
            total = weighed(F.softplus(logits[negatives_Q].float()), negatives_Q).sum()
            total = total + weighed(F.softplus(-positive_P), positives_P).sum()
        return float(total / _cells(logits_BN, positives_P, negatives_Q))


def _cells(
    logits_BN: torch.Tensor, positives_P: torch.Tensor, negatives_Q: torch.Tensor | None
) -> int:
    if negatives_Q is None:
        return logits_BN.numel()
    return max(len(positives_P) + len(negatives_Q), 1)
