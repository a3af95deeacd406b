"""The ladder of scores: every step from zero-shot to the ensemble, for evaluation and scoring.

Shapes: B images, D embedding dimension, N labels, R regions per image. Scores of a step rank the
labels of an image and the images of a label; :func:`confidence` maps them to [0, 1] for people.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from taistore.errors import ScoringError
from taistore.geometry.standardise import standardise
from taistore.geometry.unlabelled.discriminant import Discriminant
from taistore.scoring.ladders.competition import (
    Competition,
    ensemble_scores,
    gap_scores,
)
from taistore.scoring.ladders.last_layer import LastLayer

Step = Literal[
    "zero_shot",
    "standardised",
    "regions",
    "prompts_global",
    "prompts_local",
    "prompts",
    "discriminant",
    "adapter_logits",
    "adapter_global",
    "adapter",
    "ensemble",
]
STEPS: tuple[Step, ...] = get_args(Step)
"""All steps, from the bottom of the ladder to its top. ``adapter_logits`` is the paper's score:
the logits of the whole image, whose sigmoid is Eq. 2 of arXiv:2312.04160. ``prompts`` and its parts
are the steps of a prompt learner, which has none of an adapter's."""

ZERO_SHOT_STEPS: tuple[Step, ...] = ("zero_shot", "standardised", "regions")
"""Those that need no adapter, and are the same for every run of an encoder."""


PROMPT_STEPS: tuple[Step, ...] = ("prompts_global", "prompts_local", "prompts")

GAP_FROM = 0.5
"""The gap (:class:`~taistore.geometry.unlabelled.discriminant.Discriminant`) from which on the
discriminant is in the ensemble: 0.2 with the packaged encoder on varied photos, 1.0 with CLIP."""

ADAPTER_LADDER: tuple[Step, ...] = tuple(step for step in STEPS if step not in PROMPT_STEPS)
"""The steps of an adapter's ladder, zero-shot's among them."""


def step_for(step: Step, *, regions: bool) -> Step:
    """The step whose scores an image has in ``step``: without regions, those of the whole image."""
    return "zero_shot" if step == "regions" and not regions else step


AdapterLogits = Callable[[Tensor], Tensor]
"""An adapter as the ladder sees it: raw vectors [B, D] to logits [B, N]."""

BARE_COMPETITION = Competition()
"""For an adapter of which nothing is known: its logits as they are, against a "none" at 0."""

REGION_CELLS = 2**24
"""Region scores held at once (64 MB of float32)."""


def zero_shot(vectors_BD: Tensor, prompts_ND: Tensor) -> Tensor:
    """Cosine [..., N] of vectors [..., D] of any norm to unit label prompts."""
    return functional.normalize(vectors_BD, dim=-1) @ prompts_ND.T


def with_regions(
    whole_BN: Tensor, regions_BRD: Tensor, score: Callable[[Tensor], Tensor]
) -> Tensor:
    """Mean of the whole image's scores and their maximum over its regions.

    The mean keeps the scale that the scores have; the order is that of the sum.
    """
    images, regions, dim = regions_BRD.shape
    highest_BN = torch.empty_like(whole_BN)
    step = max(1, REGION_CELLS // max(regions * whole_BN.shape[1], 1))
    for start in range(0, images, step):
        block_bRD = regions_BRD[start : start + step]
        scores_bRN = score(block_bRD.reshape(-1, dim)).reshape(len(block_bRD), regions, -1)
        highest_BN[start : start + step] = scores_bRN.amax(dim=1)
    return (whole_BN + highest_BN) / 2


HALVES: dict[Step, tuple[float, float]] = {
    "standardised": (1.6, 2.5),
    "discriminant": (1.6, 2.5),
    "adapter_global": (1.7, -2.4),
    "adapter": (1.7, -2.4),
    "ensemble": (0.7, -1.1),
}
"""Slope and half-way point of :func:`confidence`. Fits: standardised slope 1.3 to 1.9, half 2.1 to
3.1; adapter 1.4 to 2.2, -2.8 to -2.0; ensemble 0.55 to 0.83, -1.3 to -0.9."""


def rescaled(scores_BN: Tensor, of: Step, to: Step) -> Tensor:
    """Scores in the scale of one step in that of another: they get the same confidence."""
    (slope, half), (other_slope, other_half) = HALVES[of], HALVES[to]
    return slope / other_slope * (scores_BN - half) + other_half


class Ladder:
    """All score steps of one encoder, label set and (where there is one) adapter.

    ``prompts_ND`` are the labels' prompt vectors of any norm; ``adapter`` maps raw vectors [B, D]
    to logits [B, N]. Its steps score an image's log shares in ``competition``, once the logits of
    its regions are in. Scores of an image never depend on the other images of a batch. The
    attribute ``prompts_ND`` holds the prompts as unit vectors; ``layer`` is the adapter's last one,
    where logits of a few labels can be made alone.
    """

    def __init__(
        self,
        prompts_ND: NDArray[Any] | Tensor,
        adapter: AdapterLogits | None = None,
        *,
        competition: Competition = BARE_COMPETITION,
        discriminant: Discriminant | None = None,
        layer: LastLayer | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self.discriminant = None if discriminant is None else discriminant.to(self._device)
        self.layer = layer
        self.prompts_ND = functional.normalize(as_tensor(prompts_ND, self._device), dim=1)
        self._adapter = adapter
        self.competition = competition

    @property
    def dim(self) -> int:
        """D, the dimension of the vectors that the ladder takes."""
        return int(self.prompts_ND.shape[1])

    @property
    def labels(self) -> int:
        """N, the number of labels that it scores."""
        return int(self.prompts_ND.shape[0])

    @property
    def has_adapter(self) -> bool:
        """Whether there are the steps of an adapter."""
        return self._adapter is not None

    def steps(self, *, regions: bool) -> tuple[Step, ...]:
        """The steps there are, bottom first: with or without regions and an adapter.

        Without regions ``adapter`` is the same as ``adapter_global``.
        """
        return tuple(
            step
            for step in ADAPTER_LADDER
            if (regions or step != "regions")
            and (self.discriminant is not None or step != "discriminant")
            and (self.has_adapter or step in ZERO_SHOT_STEPS)
        )

    @torch.inference_mode()
    def scores(
        self,
        whole_BD: NDArray[Any] | Tensor,
        regions_BRD: NDArray[Any] | Tensor | None = None,
        *,
        steps: Iterable[Step] | None = None,
    ) -> dict[Step, Tensor]:
        """Scores [B, N] float32 of each of ``steps`` (None: all), from raw vectors.

        Raises :class:`ScoringError` for a step that needs an adapter or regions where there are
        none, where vectors and prompts differ in dimension, and where a score is no number.
        """
        made = self.unchecked(whole_BD, regions_BRD, steps=steps)
        for step, scores_BN in made.items():
            if not scores_BN.isfinite().all():
                raise no_number(step)
        return made

    @torch.inference_mode()
    def unchecked(
        self,
        whole_BD: NDArray[Any] | Tensor,
        regions_BRD: NDArray[Any] | Tensor | None = None,
        *,
        steps: Iterable[Step] | None = None,
    ) -> dict[Step, Tensor]:
        """As :meth:`scores`, which may be no numbers: to look, one would wait for the GPU."""
        there = self.steps(regions=regions_BRD is not None)
        wanted = there if steps is None else tuple(steps)
        for step in wanted:
            if step not in there:
                raise ScoringError(f"step {step!r} cannot be scored here: use {', '.join(there)}")
        whole_BD = as_tensor(whole_BD, self._device)
        if whole_BD.shape[1] != self.dim:
            raise ScoringError(
                f"image vectors have {whole_BD.shape[1]} dimensions, label prompts {self.dim}: "
                "both must come from the same encoder"
            )
        if regions_BRD is not None:
            regions_BRD = as_tensor(regions_BRD, self._device)
        return self._climb(whole_BD, regions_BRD, wanted)

    def confidence(self, step: Step, scores_BN: Tensor, *, regions: bool) -> Tensor:
        """Scores of this ladder, made with or without regions, as :func:`confidence`."""
        return confidence(step, self.plain_scores(step, scores_BN, regions=regions))

    def plain_scores(self, step: Step, scores_BN: Tensor, *, regions: bool) -> Tensor:
        """Scores of this ladder in the scale that :func:`confidence` knows: here, as they are."""
        del step, regions
        return scores_BN

    @property
    def has_own_scale(self) -> bool:
        """Whether its scores have the scale that :func:`confidence` knows."""
        return True

    def member_scores(
        self,
        whole_BD: NDArray[Any] | Tensor,
        regions_BRD: NDArray[Any] | Tensor | None = None,
        *,
        steps: Iterable[Step],
    ) -> dict[Step, Tensor]:
        """What it gives an ensemble for the steps of an adapter: here, these."""
        return self.scores(whole_BD, regions_BRD, steps=steps)

    def _climb(
        self, whole_BD: Tensor, regions_BRD: Tensor | None, steps: tuple[Step, ...]
    ) -> dict[Step, Tensor]:
        """Scores of these steps, which there are, from raw vectors on this ladder's device."""
        climb = _Climb(
            self.prompts_ND,
            self._adapter,
            self.competition,
            self.discriminant,
            whole_BD=whole_BD,
            regions_BRD=regions_BRD,
        )
        return {step: climb.step(step) for step in steps}


class _Climb:
    """The steps of one batch; each matrix is computed when first needed, and once."""

    def __init__(
        self,
        prompts_ND: Tensor,
        adapter: AdapterLogits | None,
        competition: Competition,
        discriminant: Discriminant | None,
        *,
        whole_BD: Tensor,
        regions_BRD: Tensor | None,
    ) -> None:
        self._prompts_ND = prompts_ND
        self._adapter = adapter
        self._competition = competition
        self._discriminant = discriminant
        self._whole_BD = whole_BD
        self._regions_BRD = regions_BRD
        self._made: dict[Step, Tensor] = {}

    def step(self, step: Step) -> Tensor:
        if step not in self._made:
            self._made[step] = self._compute(step)
        return self._made[step]

    def _compute(self, step: Step) -> Tensor:
        if step == "zero_shot":
            return self._cosines(self._whole_BD)
        if step == "standardised":
            return standardise(self.step("zero_shot"))
        if step == "regions":
            return self._add_regions(self.step("zero_shot"), self._cosines)
        if step == "adapter_logits":
            return self._whole_logits
        if step == "adapter_global":
            return self._competition.log_shares(self._whole_logits)
        if step == "discriminant":
            parts = standardise(self._best_cosines) + standardise(self._discriminant_scores)
            return parts / 2
        if step == "ensemble":
            if self._discriminant is not None and self._discriminant.gap >= GAP_FROM:
                logits_BN = self._add_regions(self._whole_logits, self._logits)
                found = gap_scores(self._best_cosines, self._discriminant_scores, logits_BN)
                return rescaled(found, "standardised", "ensemble")
            return ensemble_scores(self._best_cosines, self.step("adapter"))
        if self._regions_BRD is None:
            return self.step("adapter_global")
        logits_BN = self._add_regions(self._whole_logits, self._logits)
        return self._competition.log_shares(logits_BN)

    @functools.cached_property
    def _whole_logits(self) -> Tensor:
        return self._logits(self._whole_BD)

    @property
    def _best_cosines(self) -> Tensor:
        """Zero-shot's, with regions where there are any."""
        return self.step("zero_shot" if self._regions_BRD is None else "regions")

    @functools.cached_property
    def _discriminant_scores(self) -> Tensor:
        found = self._discriminant
        if found is None:
            raise ScoringError("this step needs a run that has learnt from unlabelled images")
        return self._add_regions(found.scores(self._whole_BD), found.scores)

    def _add_regions(self, whole_BN: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
        if self._regions_BRD is None:
            return whole_BN
        return with_regions(whole_BN, self._regions_BRD, score)

    def _cosines(self, vectors_BD: Tensor) -> Tensor:
        return zero_shot(vectors_BD, self._prompts_ND)

    def _logits(self, vectors_BD: Tensor) -> Tensor:
        if self._adapter is None:
            raise ScoringError("this step needs an adapter: name a run")
        return self._adapter(vectors_BD).float()


def no_number(step: Step) -> ScoringError:
    """What to say of a step whose score is not finite."""
    return ScoringError(
        f"step {step!r} gave a score that is no number: the vectors or the checkpoint are damaged; "
        "encode or train again"
    )


def confidence(step: Step, scores_BN: Tensor) -> Tensor:
    """Scores of a step as values in [0, 1] that keep their order: what people read and threshold.

    Cosines (``zero_shot``, ``regions``): (1 + cosine) / 2, mere order. ``adapter_logits``: their
    sigmoid, the network's probabilities (Eq. 2 of arXiv:2312.04160). The others s:
    sigmoid(slope (s - half)) with the constants of :data:`HALVES`, chosen so that of the tags at
    0.5 about half are right on VOC2012 and COCO photos (packaged encoder, two networks). Their
    logistic fits agree well across networks and label sets, as these scores have a scale of their
    own; with another encoder the values are an orderly scale, no probability.
    """
    if step in ("zero_shot", "regions"):
        return (0.5 + 0.5 * scores_BN).clamp(0.0, 1.0)
    if step == "adapter_logits":
        return torch.sigmoid(scores_BN)
    slope, half = HALVES[step]
    return torch.sigmoid(slope * (scores_BN - half))


def as_tensor(values: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """As float32 on a device."""
    if isinstance(values, np.ndarray):
        values = torch.from_numpy(np.ascontiguousarray(values))
    return values.to(device=device, dtype=torch.float32)
