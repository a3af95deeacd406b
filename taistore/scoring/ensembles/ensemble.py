"""Several runs, and other systems' scores, as one: matrices scaled to [0, 1] and averaged.

Supplementary 8 of arXiv:2312.04160, by its own rule or by ours, as the ladder of one run.
Shapes: B images, D embedding dimension, N labels, R regions per image.
"""

import copy
import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import ConfigDict
from torch import Tensor

from taistore.adapter.run_files.file_names import CARD, write_whole
from taistore.adapter.run_files.plain_json import STRICT, from_plain, read_object
from taistore.errors import ScoringError
from taistore.scoring.ensembles.imported_scores import ImportedPart, KeptScores
from taistore.scoring.ensembles.probabilities import PROBABILITY_STEPS
from taistore.scoring.ladders.ladder import ZERO_SHOT_STEPS, Ladder, Step

TASK = "ensemble"
"""What ``runs.task`` says of an ensemble."""

CARD_VERSION = 1

MEMBER_STEPS: tuple[Step, ...] = ("adapter_global", "adapter", "ensemble")
"""Steps that are averages of the members' same steps; the others need no run at all."""

Rule = Literal["scaled", "paper"]
"""How scores come together: by :data:`RULES`."""

RULES: dict[Rule, str] = {
    "scaled": "Each member's scores of a step are scaled by the lowest and highest one over these "
    "images to [0, 1] and averaged with the weights; scores outside that range are not clipped.",
    "paper": "Supplementary 8 of arXiv:2312.04160: the first member's probabilities, the sigmoid "
    "of its logits, are averaged with the weights with every other system's scores, scaled by the "
    "lowest and highest one over these images to [0, 1].",
}
"""What a card says of each rule."""

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
    ``images`` says how many they were. ``rule`` says in words what ``rule_name`` stands for.
    ``imported`` is another system's matrix, which lies beside the card.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    run_id: str
    encoder_id: str
    label_keys: tuple[str, ...]
    members: tuple[Member, ...]
    split: str | None
    images: int
    created: str
    rule: str = RULES["scaled"]
    rule_name: Rule = "scaled"
    imported: ImportedPart | None = None
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
        weights = {f"members.{n}.weight": one.weight for n, one in enumerate(found.members)}
        if found.imported is not None:
            weights["imported.weight"] = found.imported.weight
            _check_range("imported: the range", found.imported.low, found.imported.high)
        for place, weight in weights.items():
            if weight < 0:
                raise ValueError(f"{place}: {weight} is below 0")
        if abs(sum(weights.values()) - 1) > 1e-6:
            raise ValueError(f"members: the sum of their weights is {sum(weights.values())}, not 1")
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
        _check_range(f"{place}: the range of {step}", *ranges[step])


def _check_range(what: str, low: float, high: float) -> None:
    if low > high or not math.isfinite(high - low):
        raise ValueError(f"{what} is {low} to {high}")


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

    ``ladders`` are those of the card's members, in their order: with the paper's rule the first is
    a :class:`~taistore.scoring.ensembles.probabilities.ProbabilityLadder`. Each climbs from the
    prompts of its run; the zero-shot steps are the first member's. ``kept`` are the imported scores
    of the card; they belong to images, so that these steps need :meth:`of_images`.
    """

    def __init__(
        self,
        card: EnsembleCard,
        ladders: Sequence[Ladder],
        *,
        kept: KeptScores | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        super().__init__(ladders[0].prompts_ND, device=device)
        self._card = card
        self._parts = tuple(zip(card.members, ladders, strict=True))
        self._kept = kept
        self._imported_BN: Tensor | None = None

    @property
    def has_adapter(self) -> bool:
        """Always: the members have."""
        return True

    def of_images(self, image_ids: Sequence[str]) -> "EnsembleLadder":
        """The same for a batch of these images alone, whose imported scores it has."""
        if self._kept is None:
            return self
        bound = copy.copy(self)
        bound._imported_BN = torch.from_numpy(self._kept.rows(image_ids)).to(self._device)
        return bound

    def steps(self, *, regions: bool) -> tuple[Step, ...]:
        """The zero-shot steps, and those of a run that the rule averages."""
        averaged = PROBABILITY_STEPS if self._card.rule_name == "paper" else MEMBER_STEPS
        there = super().steps(regions=regions)
        return tuple(step for step in there if step in (*ZERO_SHOT_STEPS, *averaged))

    def confidence(self, step: Step, scores_BN: Tensor, *, regions: bool) -> Tensor:
        """As a run's; averages with probabilities or with another system's scores as they are."""
        if step not in ZERO_SHOT_STEPS and not self.has_own_scale:
            return scores_BN.clamp(0.0, 1.0)
        return super().confidence(step, scores_BN, regions=regions)

    @property
    def has_own_scale(self) -> bool:
        """Whether only adapters' scores of this scale are averaged, as runs have them."""
        alone = mixes_runs_alone(self._card)
        return alone and all(ladder.has_own_scale for _, ladder in self._parts)

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
        if not averaged:
            return made
        for member, ladder in self._parts:
            scores = ladder.member_scores(whole_BD, regions_BRD, steps=averaged)
            for step, scores_BN in scores.items():
                low, high = member.range(step, regions=regions_BRD is not None)
                part_BN = member.weight * scaled(scores_BN, low, high)
                made[step] = made[step] + part_BN if step in made else part_BN
        if self._card.imported is not None:
            part_BN = self._imported_part(self._card.imported, len(whole_BD))
            made |= {step: made[step] + part_BN for step in averaged}
        return made

    def _imported_part(self, imported: ImportedPart, images: int) -> Tensor:
        if self._imported_BN is None:
            raise ScoringError(
                f"run {self._card.run_id} averages the scores in {imported.source}, which are of "
                f"images of split {self._card.split!r}: other photos have none, score them with "
                f"{self._card.members[0].run_id}"
            )
        if len(self._imported_BN) != images:
            raise ValueError(f"{images} images, imported scores of {len(self._imported_BN)}")
        return imported.weight * scaled(self._imported_BN, imported.low, imported.high)


def scaled(scores_BN: Tensor, low: float, high: float) -> Tensor:
    """From a range to [0, 1]; where all scores were equal there is nothing to scale by."""
    return (scores_BN - low) / ((high - low) or 1.0)


def mixes_runs_alone(card: EnsembleCard) -> bool:
    """Whether it is an average of runs' scaled scores and of nothing else."""
    return card.rule_name == "scaled" and card.imported is None


def ladder_of(ladder: Ladder, image_ids: Sequence[str]) -> Ladder:
    """A run's ladder for a batch of these images; only imported scores depend on which they are."""
    return ladder.of_images(image_ids) if isinstance(ladder, EnsembleLadder) else ladder
