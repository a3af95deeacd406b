"""A run's ladder with the paper's probabilities for its adapter's scores.

Shapes: B images, D embedding dimension, N labels, R regions per image.
"""

import torch
from torch import Tensor

from taistore.scoring.ladders.ladder import (
    ZERO_SHOT_STEPS,
    AdapterLogits,
    Ladder,
    Step,
    with_regions,
)

PROBABILITY_STEPS: tuple[Step, ...] = ("adapter_global", "adapter")
"""Of the whole image as in arXiv:2312.04160, and with its regions, as the other steps have them."""


class ProbabilityLadder(Ladder):
    """The sigmoid of an adapter's logits (Eq. 2 of arXiv:2312.04160), and the zero-shot steps."""

    def __init__(
        self, prompts_ND: Tensor, logits: AdapterLogits, *, device: str | torch.device = "cpu"
    ) -> None:
        super().__init__(prompts_ND, logits, device=device)
        self._logits = logits

    def steps(self, *, regions: bool) -> tuple[Step, ...]:
        """The zero-shot steps and :data:`PROBABILITY_STEPS`."""
        there = super().steps(regions=regions)
        return tuple(s for s in there if s in (*ZERO_SHOT_STEPS, *PROBABILITY_STEPS))

    def _climb(
        self, whole_BD: Tensor, regions_BRD: Tensor | None, steps: tuple[Step, ...]
    ) -> dict[Step, Tensor]:
        shared = tuple(step for step in steps if step in ZERO_SHOT_STEPS)
        made = super()._climb(whole_BD, regions_BRD, shared)
        if len(shared) < len(steps):
            logits_BN = self._logits(whole_BD).float()
            for step in steps:
                if step == "adapter" and regions_BRD is not None:
                    both_BN = with_regions(
                        logits_BN, regions_BRD, lambda block: self._logits(block).float()
                    )
                    made[step] = torch.sigmoid(both_BN)
                elif step not in ZERO_SHOT_STEPS:
                    made[step] = torch.sigmoid(logits_BN)
        return made
