"""The ladder of a prompt learner: zero-shot's steps, and its own.

Shapes: B images, D embedding dimension, N labels, R regions per image.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from taistore.prompting.learner_files import Learner
from taistore.scoring.ladders.ladder import (
    PROMPT_STEPS,
    REGION_CELLS,
    ZERO_SHOT_STEPS,
    Ladder,
    Step,
)

CACHED_CELLS = 2**19
"""Region scores held at once on a CPU, where the few passes over them then stay in its cache."""

_AS_MEMBER: dict[Step, Step] = {"adapter_global": "prompts_global"}
"""What stands for an adapter's step in an ensemble; for any other, all of the learner's score."""


class PromptLadder(Ladder):
    """The steps of a finished learner: cosines to its vectors, no text tower.

    Without regions the whole image is its only region. A DualCoOp, which scores regions alone, has
    no ``prompts_global``.
    """

    def __init__(self, learner: Learner, *, device: str | torch.device = "cpu") -> None:
        super().__init__(learner.prompts_ND, device=device)
        self._logits = learner.to(self._device).logits

    def steps(self, *, regions: bool) -> tuple[Step, ...]:
        """Zero-shot's, those of the learner's parts, and ``prompts``; with or without regions."""
        own = (s for s in PROMPT_STEPS if self._logits.has_whole or s != "prompts_global")
        return (*super().steps(regions=regions), *own)

    @property
    def has_own_scale(self) -> bool:
        """Its logits have the scale of their temperature."""
        return False

    def member_scores(
        self,
        whole_BD: NDArray[Any] | Tensor,
        regions_BRD: NDArray[Any] | Tensor | None = None,
        *,
        steps: Iterable[Step],
    ) -> dict[Step, Tensor]:
        """Its score, for ``adapter_global`` that of the whole image where it has one."""
        there = self.steps(regions=regions_BRD is not None)
        own = {step: _AS_MEMBER.get(step, "prompts") for step in steps}
        own = {step: mine if mine in there else "prompts" for step, mine in own.items()}
        made = self.scores(whole_BD, regions_BRD, steps=dict.fromkeys(own.values()))
        return {step: made[mine] for step, mine in own.items()}

    def confidence(self, step: Step, scores_BN: Tensor, *, regions: bool) -> Tensor:
        """The sigmoid of the learner's logits; of ranks, as TaI-DPT learns, mere order."""
        if step in PROMPT_STEPS:
            return torch.sigmoid(scores_BN)
        return super().confidence(step, scores_BN, regions=regions)

    def _climb(
        self, whole_BD: Tensor, regions_BRD: Tensor | None, steps: tuple[Step, ...]
    ) -> dict[Step, Tensor]:
        shared = tuple(step for step in steps if step in ZERO_SHOT_STEPS)
        made = super()._climb(whole_BD, regions_BRD, shared)
        if len(shared) == len(steps):
            return made
        whole_BD = functional.normalize(whole_BD, dim=-1)
        if regions_BRD is None:
            regions_BRD = whole_BD[:, None]
        local_BN = self._local(functional.normalize(regions_BRD, dim=-1))
        found: dict[Step, Callable[[], Tensor]] = {
            "prompts_global": lambda: self._logits.whole(whole_BD),
            "prompts_local": lambda: local_BN,
            "prompts": lambda: self._logits.both(whole_BD, local_BN),
        }
        return made | {step: found[step]() for step in steps if step in found}

    def _local(self, regions_BRD: Tensor) -> Tensor:
        """Scores of the regions, a block of images at a time."""
        images, regions, _ = regions_BRD.shape
        cells = CACHED_CELLS if self._device.type == "cpu" else REGION_CELLS
        block = max(1, cells // (regions * self.labels))
        there_R = torch.ones(regions, dtype=torch.bool, device=self._device)
        parts = []
        for low in range(0, images, block):
            part_bRD = regions_BRD[low : low + block]
            parts.append(self._logits.local(part_bRD, there_R.expand(len(part_bRD), -1)))
        return torch.cat(parts) if images else regions_BRD.new_zeros((0, self.labels))
