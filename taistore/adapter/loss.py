"""Binary cross-entropy with sparse positives (Eq. 3 of arXiv:2312.04160): only its gradient.

B batch, N labels, P positives of the batch. A target matrix [B, N] is never built, and the value
of the loss, which no step needs, is computed only where it is asked for.
"""

from typing import Any

import torch
import torch.nn.functional as F


class _SparseBCE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_BN: torch.Tensor, positives_P: torch.Tensor, scale: float
    ) -> torch.Tensor:
        ctx.save_for_backward(logits_BN, positives_P)
        ctx.scale = scale
        return logits_BN.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *outputs: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits_BN, positives_P = ctx.saved_tensors
        gradient_BN = torch.sigmoid(logits_BN)
        # A label occurs once in a row, so that no two of these writes meet.
        flat = gradient_BN.view(-1)
        flat[positives_P] -= 1.0
        gradient_BN *= outputs[0] / ctx.scale
        return gradient_BN, None, None


def sparse_bce(logits_BN: torch.Tensor, positives_P: torch.Tensor) -> torch.Tensor:
    """A zero to call ``backward`` on: gradients of Eq. 3, mean over batch and labels.

    ``logits_BN`` is contiguous [B, N]; ``positives_P`` int64 [P] holds ``row * N + label`` of
    every positive, each once. The gradients equal those of
    ``binary_cross_entropy_with_logits`` with a dense target; the returned value is 0.
    """
    result: torch.Tensor = _SparseBCE.apply(logits_BN, positives_P, float(logits_BN.numel()))
    return result


def bce_value(logits_BN: torch.Tensor, positives_P: torch.Tensor) -> float:
    """The loss of Eq. 3, mean over batch and labels, without a dense target."""
    # -log(1 - sigmoid(z)) = softplus(z); a positive label costs softplus(-z) = softplus(z) - z.
    with torch.no_grad():
        total = F.softplus(logits_BN.float()).sum() - logits_BN.view(-1)[positives_P].float().sum()
        return float(total / logits_BN.numel())
