"""Scores of finished prompt learners: cosines of images and regions to learnt label vectors.

Shapes: B images (or texts), D embedding dimension, N labels, L regions of an image (or tokens of a
text). All vectors are unit vectors, but for prototypes, which only begin as such.
"""

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn import functional as F

from taistore.prompting.prompt_config import Method, Prototypes, Variant

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


def prototype_roles(prototypes: Prototypes) -> tuple[str, ...]:
    """Which of a learner's scores have prototypes beside their label vectors."""
    if prototypes == "none":
        return ()
    return ("local",) if prototypes == "local" else ("whole", "local")


class Logits:
    """Scores of vectors against the label vectors of a learner.

    ``temperature`` and ``spatial`` are numbers, or tensors where they are learnt. To the score of a
    role that ``prototypes`` [N, D] are given for, ``alpha`` times the affinity to them is added:
    Eq. 5 and 6 of T2I-PAL, q = exp(-beta (1 - <H, A>)), where H is what a label attends to.
    """

    def __init__(
        self,
        method: Method,
        variant: Variant,
        vectors: Vectors,
        *,
        temperature: float | Tensor,
        spatial: float | Tensor,
        prototypes: Vectors = MappingProxyType({}),
        alpha: float = 1.0,
        beta: float = 1.0,
    ) -> None:
        self._method = method
        self._variant = variant
        self._vectors = vectors
        self._prototypes = prototypes
        self._alpha = alpha
        self._beta = beta
        self._temperature = temperature
        self._spatial = spatial

    @property
    def has_whole(self) -> bool:
        """Whether the whole image is scored beside its regions."""
        return self._method != "dualcoop"

    def whole(self, whole_BD: Tensor) -> Tensor:
        """Logits [B, N] of whole images or texts."""
        cosines_BN = whole_BD @ self._vectors["whole"].T
        if (prototypes_ND := self._prototypes.get("whole")) is not None:
            cosines_BN = cosines_BN + self._affinity(whole_BD @ prototypes_ND.T)
        return self._temperature * cosines_BN

    def local(self, local_BLD: Tensor, there_BL: Tensor) -> Tensor:
        """Logits [B, N] of the regions or tokens that are ``there``, weighed by a softmax."""
        if self._method == "dualcoop":
            return self._dual(local_BLD, there_BL)
        name = "local" if "local" in self._vectors else "whole"
        cosines_BLN = local_BLD @ self._vectors[name].T
        weights_BLN = self._weights(cosines_BLN, there_BL)
        attended_BN = (cosines_BLN * weights_BLN).sum(dim=1)
        if (prototypes_ND := self._prototypes.get("local")) is not None:
            # <H, A>, for H is the mean of the regions by these weights and the product is linear.
            near_BN = (weights_BLN * (local_BLD @ prototypes_ND.T)).sum(dim=1)
            attended_BN = attended_BN + self._affinity(near_BN)
        return self._temperature * attended_BN

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

    def _affinity(self, near_BN: Tensor) -> Tensor:
        """What products with prototypes add to a score."""
        return self._alpha * torch.exp(-self._beta * (1 - near_BN))

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
