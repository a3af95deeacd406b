"""Binary cross-entropy over known cells (Eq. 3 of arXiv:2312.04160): only its gradient.

Partial-BCE is the same with weights of the rows.

B batch, N labels, P positives and Q known negatives of the batch. A target matrix [B, N] is never
built, and the value of the loss, which no step needs, is computed only where it is asked for.
"""

from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F

Loss = Literal["bce", "partial-bce"]
LOSSES: tuple[Loss, ...] = get_args(Loss)

_SLOPE, _AT_NOTHING = -4.45, 5.45  # of g(p): 1 where all is known, 5 where a tenth is


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


def partial_bce_weights(known_B: torch.Tensor, labels: int) -> torch.Tensor:
    """``row_weights`` float32 [B] with which :func:`sparse_bce` is the Partial-BCE of images.

    ``known_B`` counts the known cells of each image, ``labels`` is N. Partial-BCE (of
    arXiv:1902.09720, exponent 1) is the mean over images of g(p) / N times the sum over their known
    cells, with p = known / N and g(p) = -4.45 p + 5.45. :func:`sparse_bce` divides by the known
    cells of the batch, K, instead of B * N: a row hence counts g(p) K / (B N), which is g(p) times
    the mean p of the batch. Where all images have the same p, the whole batch counts p g(p) of what
    it counts there: 0.5 at a tenth, 1.6 at a half, 1 where all is known.
    """
    share_B = known_B.float() / labels
    weights_B: torch.Tensor = (_SLOPE * share_B + _AT_NOTHING) * share_B.mean()
    return weights_B


def _cells(
    logits_BN: torch.Tensor, positives_P: torch.Tensor, negatives_Q: torch.Tensor | None
) -> int:
    if negatives_Q is None:
        return logits_BN.numel()
    return max(len(positives_P) + len(negatives_Q), 1)
