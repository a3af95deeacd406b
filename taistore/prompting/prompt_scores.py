"""Scores of finished prompt learners: cosines of images and regions to learnt label vectors.

Shapes: B images (or texts), D embedding dimension, N labels, L regions of an image (or tokens of a
text). All vectors are unit vectors.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from taistore.prompting.prompt_config import Method, Variant

Vectors = Mapping[str, Tensor]
"""Label vectors [N, D] of a learner, by what they stand for: see :func:`roles`."""

WINNER_SHARPNESS = 200.0
"""Winner-take-all of DualCoOp++."""


def roles(method: Method, variant: Variant) -> tuple[str, ...]:
    """What a learner has label vectors for."""
    if method == "dualcoop":
        return (
            ("positive", "negative", "evidence") if variant == "plus" else ("positive", "negative")
        )
    return ("whole",) if method == "coop" else ("whole", "local")


class Logits:
    """Scores of vectors against the label vectors of a learner.

    ``temperature`` and ``spatial`` are numbers, or tensors where they are learnt.
    """

    def __init__(
        self,
        method: Method,
        variant: Variant,
        vectors: Vectors,
        *,
        temperature: float | Tensor,
        spatial: float | Tensor,
    ) -> None:
        self._method = method
        self._variant = variant
        self._vectors = vectors
        self._temperature = temperature
        self._spatial = spatial

    @property
    def has_whole(self) -> bool:
        """Whether the whole image is scored beside its regions."""
        return self._method != "dualcoop"

    def whole(self, whole_BD: Tensor) -> Tensor:
        """Logits [B, N] of whole images or texts."""
        return self._temperature * (whole_BD @ self._vectors["whole"].T)

    def local(self, local_BLD: Tensor, there_BL: Tensor) -> Tensor:
        """Logits [B, N] of the regions or tokens that are ``there``, weighed by a softmax."""
        if self._method == "dualcoop":
            return self._dual(local_BLD, there_BL)
        name = "local" if "local" in self._vectors else "whole"
        cosines_BLN = local_BLD @ self._vectors[name].T
        weights_BLN = self._weights(cosines_BLN, there_BL)
        return self._temperature * (cosines_BLN * weights_BLN).sum(dim=1)

    def both(self, whole_BD: Tensor, local_BN: Tensor) -> Tensor:
        """The learner's own score [B, N]: half whole, half local; of DualCoOp local alone."""
        return (self.whole(whole_BD) + local_BN) / 2 if self.has_whole else local_BN

    def _dual(self, local_BLD: Tensor, there_BL: Tensor) -> Tensor:
        """Difference of positive and negative cosines where the evidence is."""
        if self._variant == "official":
            local_BLD, there_BL = with_mean(local_BLD, there_BL)
        positive_BLN = local_BLD @ self._vectors["positive"].T
        negative_BLN = local_BLD @ self._vectors["negative"].T
        evidence_BLN = positive_BLN
        if self._variant == "plus":
            evidence_BLN = local_BLD @ self._vectors["evidence"].T
            positive_BLN = winner_take_all(positive_BLN)
        weights_BLN = self._weights(evidence_BLN, there_BL)
        return self._temperature * ((positive_BLN - negative_BLN) * weights_BLN).sum(dim=1)

    def _weights(self, cosines_BLN: Tensor, there_BL: Tensor) -> Tensor:
        sharp_BLN = (self._spatial * cosines_BLN).masked_fill_(~there_BL[:, :, None], -torch.inf)
        return sharp_BLN.softmax(dim=1)


def with_mean(local_BLD: Tensor, there_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Regions with their mean as one more: DualCoOp keeps the pool's mean token as a position.

    Value and output projection are affine, so that the mean of the projected cells is the projected
    mean; of unit vectors it is that but for their norms.
    """
    counted_BLD = local_BLD * there_BL[:, :, None]
    mean_B1D = F.normalize(counted_BLD.sum(dim=1, keepdim=True), dim=-1)
    return (
        torch.cat([mean_B1D, local_BLD], dim=1),
        torch.cat([torch.ones_like(there_BL[:, :1]), there_BL], dim=1),
    )


def winner_take_all(cosines_BLN: Tensor) -> Tensor:
    """Positive cosines of DualCoOp++, raised for the labels that win at their position.

    cos (1 + softmax over labels of 200 cos max cos).
    """
    highest_BL1 = cosines_BLN.amax(dim=-1, keepdim=True)
    return cosines_BLN * (1 + (WINNER_SHARPNESS * cosines_BLN * highest_BL1).softmax(dim=-1))
