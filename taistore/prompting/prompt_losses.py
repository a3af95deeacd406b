"""Losses of the prompt learners, over the cells that are known.

Shapes: B batch, N labels, P known positives of a batch. Targets are 1, 0 and -1 for unknown.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from taistore.labels import ABSENT, PRESENT, UNKNOWN

GAMMA_NEGATIVE, GAMMA_POSITIVE, CLIP = 2.0, 1.0, 0.05
"""Asymmetric loss as DualCoOp takes it."""

PAIRS = 2**24
"""Pairs of a positive and a negative that are held at once (64 MB)."""


def asymmetric(logits_BN: Tensor, targets_BN: Tensor, *, epsilon: float) -> Tensor:
    """Sum over known cells of the asymmetric loss (arXiv:2009.14119) on sigmoid(logits).

    A negative's probability is lowered by :data:`CLIP`, both sides are focused by their gammas, and
    no gradient goes through that weight.
    """
    there_BN = torch.sigmoid(logits_BN)
    absent_BN = (1 - there_BN + CLIP).clamp(max=1)
    positive_BN = targets_BN == PRESENT
    right_BN = torch.where(positive_BN, there_BN, absent_BN)
    gamma_BN = torch.where(positive_BN, GAMMA_POSITIVE, GAMMA_NEGATIVE)
    with torch.no_grad():
        weight_BN = (1 - right_BN) ** gamma_BN * (targets_BN != UNKNOWN)
    return -(weight_BN * right_BN.clamp(min=epsilon).log()).sum()


def known_bce(logits_BN: Tensor, targets_BN: Tensor) -> Tensor:
    """Mean binary cross-entropy over the known cells; 0 where there is none."""
    known_BN = targets_BN != UNKNOWN
    losses_BN = F.binary_cross_entropy_with_logits(
        logits_BN, targets_BN.clamp(min=0).to(logits_BN.dtype), reduction="none"
    )
    return (losses_BN * known_BN).sum() / known_BN.sum().clamp(min=1)


def ranking(scores_BN: Tensor, targets_BN: Tensor, *, margin: float = 1.0) -> Tensor:
    """Mean over the batch of the sum over pairs of max(0, margin - (s+ - s-)).

    The loss of TaI-DPT (arXiv:2211.12739) and T2I-PAL; a pair is a known positive and a known
    negative of one row.
    """
    row_P, label_P = torch.nonzero(targets_BN == PRESENT, as_tuple=True)
    absent_BN = targets_BN == ABSENT
    total = scores_BN.new_zeros(())
    step = max(1, PAIRS // max(scores_BN.shape[1], 1))
    for low in range(0, len(row_P), step):
        rows, labels = row_P[low : low + step], label_P[low : low + step]
        gaps_pN = margin - scores_BN[rows, labels][:, None] + scores_BN[rows]
        total = total + (gaps_pN.clamp(min=0) * absent_BN[rows]).sum()
    return total / len(scores_BN)
