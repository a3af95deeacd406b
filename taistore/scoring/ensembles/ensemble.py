"""Several runs as one: their score matrices, each scaled to [0, 1], averaged with weights.

Supplementary 8 of arXiv:2312.04160, as the ladder of one run. Shapes: B images, D embedding
dimension, N labels, R regions per image.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import ConfigDict
from torch import Tensor

from taistore.adapter.run_files.checkpoint import CARD, write_whole
from taistore.adapter.run_files.plain_json import STRICT, from_plain, read_object
from taistore.errors import ScoringError
from taistore.scoring.ladder import ZERO_SHOT_STEPS, Ladder, Step

TASK = "ensemble"
"""What ``runs.task`` says of an ensemble."""

CARD_VERSION = 1

MEMBER_STEPS: tuple[Step, ...] = ("adapter_global", "adapter", "ensemble")
"""Steps that are averages of the members' same steps; the others need no run at all."""

Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest score of each of :data:`MEMBER_STEPS`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A run in an ensemble: its share, and the ranges that its scores had when it was made.

    ``weight`` is its part of the average; those of all members add up to 1. ``whole`` are the
    ranges of scores of whole images, ``regions`` of whole images with their regions (None where
    the images had no region vectors). ``weights_digest`` names the run's weights, so that another
    run in its place is noticed.
    """

    run_id: str
    weight: float
    weights_digest: str
    whole: Ranges
    regions: Ranges | None

    def range(self, step: Step, *, regions: bool) -> tuple[float, float]:
        """Lowest and highest score of a step, with regions where their ranges are known."""
        ranges = self.regions if regions and self.regions is not None else self.whole
        low, high = ranges[step]
        return low, high


@dataclass(frozen=True, kw_only=True, slots=True)
class EnsembleCard:
    """What an ensemble is made of: ``card.json`` in its folder, and nothing else.

    ``split`` names the images over which the ranges were taken (None: all of the store), and
    ``images`` says how many they were.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    run_id: str
    encoder_id: str
    label_keys: tuple[str, ...]
    members: tuple[Member, ...]
    split: str | None
    images: int
    created: str
    rule: str = (
        "Each member's scores of a step are scaled by the lowest and highest one over these images "
        "to [0, 1] and averaged with the weights; scores outside that range are not clipped."
    )
    card_version: int = CARD_VERSION

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`; raises ValueError naming the field on anything else."""
        found = from_plain(cls, values)
        if not found.members:
            raise ValueError("members: there are none")
        total = sum(member.weight for member in found.members)
        if min(member.weight for member in found.members) < 0 or abs(total - 1) > 1e-6:
            raise ValueError("members: their weights are not from 0 on, with the sum 1")
        for number, member in enumerate(found.members):
            _check_ranges(f"members.{number}.whole", member.whole)
            if member.regions is not None:
                _check_ranges(f"members.{number}.regions", member.regions)
        return found

    @property
    def digest(self) -> str:
        """SHA-256 of the card, which names the members' weights too."""
        return hashlib.sha256(_card_text(self).encode()).hexdigest()


def _check_ranges(place: str, ranges: Ranges) -> None:
    for step in MEMBER_STEPS:
        if step not in ranges:
            raise ValueError(f"{place}: the range of {step} is missing")
        low, high = ranges[step]
        if low > high or not math.isfinite(high - low):
            raise ValueError(f"{place}: the range of {step} is {low} to {high}")


def _card_text(card: EnsembleCard) -> str:
    return json.dumps(card.to_json(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def save_ensemble(folder: Path, card: EnsembleCard) -> None:
    """Write ``card.json`` into ``folder``, whole or not at all."""
    write_whole(folder / CARD, lambda part: part.write_text(_card_text(card), encoding="utf-8"))


def load_ensemble(folder: Path) -> EnsembleCard:
    """The card of an ensemble; raises :class:`ScoringError` where it is missing or damaged."""
    path = folder / CARD
    again = "make the ensemble again with 'taistore ensemble'"
    try:
        return EnsembleCard.from_json(read_object(path))
    except OSError as error:
        raise ScoringError(f"{path}: cannot be read ({error.strerror}): {again}") from error
    except ValueError as error:
        raise ScoringError(
            f"{path}: not a card of an ensemble ({error!s:.300}): {again}"
        ) from error


class EnsembleLadder(Ladder):
    """The ladder of an ensemble: its adapter's steps are averages of the members' same steps.

    ``ladders`` are the members' own, in the order of ``members``. Each climbs from the prompts of
    its run; the zero-shot steps are the first member's.
    """

    def __init__(
        self,
        members: Sequence[Member],
        ladders: Sequence[Ladder],
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(ladders[0].prompts_ND, device=device)
        self._parts = tuple(zip(members, ladders, strict=True))

    @property
    def has_adapter(self) -> bool:
        """Always: the members have."""
        return True

    def plain_scores(self, step: Step, scores_BN: Tensor, *, regions: bool) -> Tensor:
        """Averages back in the members' own scale: the average of their lows and spans."""
        if step in ZERO_SHOT_STEPS:
            return scores_BN
        plain_BN = torch.zeros_like(scores_BN)
        for member, ladder in self._parts:
            low, high = member.range(step, regions=regions)
            unscaled_BN = low + (high - low) * scores_BN
            plain_BN += member.weight * ladder.plain_scores(step, unscaled_BN, regions=regions)
        return plain_BN

    def _climb(
        self, whole_BD: Tensor, regions_BRD: Tensor | None, steps: tuple[Step, ...]
    ) -> dict[Step, Tensor]:
        shared = tuple(step for step in steps if step in ZERO_SHOT_STEPS)
        averaged = tuple(step for step in steps if step not in ZERO_SHOT_STEPS)
        made = dict(self._parts[0][1].scores(whole_BD, regions_BRD, steps=shared)) if shared else {}
        if averaged:
            for member, ladder in self._parts:
                scores = ladder.scores(whole_BD, regions_BRD, steps=averaged)
                for step, scores_BN in scores.items():
                    low, high = member.range(step, regions=regions_BRD is not None)
                    # Where all scores were equal there is nothing to scale by.
                    part_BN = member.weight * (scores_BN - low) / ((high - low) or 1.0)
                    made[step] = made[step] + part_BN if step in made else part_BN
        return made


def ladder_of(ladder: Ladder, image_ids: Sequence[str]) -> Ladder:
    """The ladder as it is."""
    del image_ids
    return ladder
