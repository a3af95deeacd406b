"""Each step of the ladder as a weighted sum of an image's parts, once their spread is known.

Shapes: B images.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from taistore.geometry.unlabelled.discriminant import Discriminant
from taistore.scoring.ladders.competition import LOGIT_WEIGHT, SHARE_WEIGHT, Competition
from taistore.scoring.ladders.ladder import GAP_FROM, Step, rescaled
from taistore.scoring.shortlists.products import Part

STEP_PARTS: dict[Step, tuple[Part, ...]] = {
    "zero_shot": ("cosines",),
    "standardised": ("cosines",),
    "regions": ("cosines",),
    "discriminant": ("cosines", "discriminant"),
    "adapter_logits": ("logits",),
    "adapter_global": ("logits",),
    "adapter": ("logits",),
    "ensemble": ("logits", "cosines"),
}
"""What the score of a step is made of; the first has a weight above 0."""

GAP_PARTS: tuple[Part, ...] = ("logits", "cosines", "discriminant")
"""Those of the ensemble where the discriminant is in it."""


def parts_of(step: Step, discriminant: Discriminant | None) -> tuple[Part, ...]:
    """What a step of a run with this discriminant is made of, that with the surest weight first."""
    far = discriminant is not None and discriminant.gap >= GAP_FROM
    return GAP_PARTS if step == "ensemble" and far else STEP_PARTS[step]


def standardised_parts(step: Step, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Which of a step's parts are divided by their deviation over the labels."""
    if step in ("standardised", "discriminant") or "discriminant" in parts:
        return parts
    return ("cosines",) if step == "ensemble" else ()


WHOLE_ALONE: tuple[Step, ...] = ("zero_shot", "standardised", "adapter_logits", "adapter_global")
"""Steps that go by whole images, whatever regions there are."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and deviation of a part over all labels of each image [B]."""

    mean_B: Tensor
    deviation_B: Tensor


@dataclass(frozen=True, slots=True)
class Formula:
    """Scores are ``sum of weights_B part + constant_B``, less the shares' total where they count.

    ``totals`` is how often the logarithm of the total of the shares is subtracted.
    """

    weights: dict[Part, Tensor]
    constant_B: Tensor
    totals: float = 0.0

    def rows(self, rows_b: Tensor) -> "Formula":
        """The formula of these images alone."""
        weights = {part: weight_B[rows_b] for part, weight_B in self.weights.items()}
        return Formula(weights, self.constant_B[rows_b], self.totals)

    def ratio(self, part: Part) -> Tensor:
        """The weight of a part as a multiple of that of the first [B]."""
        return self.weights[part] / next(iter(self.weights.values()))

    def scores(self, parts: Mapping[Part, Tensor]) -> Tensor:
        """Scores [B, K] of labels with these parts [B, K], the total not yet subtracted."""
        scores_BK = self.constant_B[:, None]
        for part, weight_B in self.weights.items():
            scores_BK = scores_BK + weight_B[:, None] * parts[part]
        return scores_BK


def formula(
    step: Step,
    spreads: Mapping[Part, Spread],
    competition: Competition,
    levels: Mapping[Part, Tensor],
    *,
    parts: tuple[Part, ...],
) -> Formula:
    """The formula of a step of these parts; logits are in units of the competition's spread.

    ``spreads`` are those of :func:`standardised_parts`, ``levels`` any numbers [B] of each part.
    Equal to :mod:`taistore.scoring.ladders.ladder` where no part is the same for all labels.
    """
    one_B = torch.ones_like(next(iter(levels.values())))
    if step in ("zero_shot", "regions"):
        return Formula({"cosines": one_B}, 0 * one_B)
    if step == "adapter_logits":
        return Formula({"logits": competition.spread * one_B}, 0 * one_B)
    if step in ("adapter_global", "adapter"):
        return Formula({"logits": one_B}, 0 * one_B, totals=1.0)
    if step == "standardised":
        return _standard(spreads, {"cosines": 1.0})
    if step == "discriminant":
        return _standard(spreads, {"cosines": 0.5, "discriminant": 0.5})
    if "discriminant" in parts:
        whole = 2 + LOGIT_WEIGHT
        shares: dict[Part, float] = {
            "logits": LOGIT_WEIGHT / whole,
            "cosines": 1 / whole,
            "discriminant": 1 / whole,
        }
        mean = _standard(spreads, shares)
        at_0 = rescaled(torch.zeros_like(one_B), "standardised", "ensemble")
        slope_B = rescaled(one_B, "standardised", "ensemble") - at_0
        steeper = {part: slope_B * weight_B for part, weight_B in mean.weights.items()}
        return Formula(steeper, slope_B * mean.constant_B + at_0)
    standard = _standard(spreads, {"cosines": 1.0})
    weights: dict[Part, Tensor] = {"logits": SHARE_WEIGHT * one_B, **standard.weights}
    return Formula(weights, standard.constant_B, totals=SHARE_WEIGHT)


def _standard(spreads: Mapping[Part, Spread], shares: Mapping[Part, float]) -> Formula:
    """The weighted sum of standardised parts."""
    weights = {part: share / spreads[part].deviation_B for part, share in shares.items()}
    lowered = [weight_B * spreads[part].mean_B for part, weight_B in weights.items()]
    return Formula(weights, -torch.stack(lowered).sum(dim=0))
