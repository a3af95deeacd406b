"""Which step of the ladder ranks, where a validation split was looked at."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from taistore.defaults import VALIDATION
from taistore.scoring.ladders.ladder import Step

MARGIN = 0.5
"""Percent mAP by which a step must beat the top of the ladder: less means nothing."""


class ChosenStep(NamedTuple):
    """A step and, in words, why it was taken."""

    step: Step
    why: str


def best_step(steps: Sequence[Step], percent: Mapping[str, float], *, split: str) -> ChosenStep:
    """The step with the highest mAP, in ``percent``, of a split; the top where none is clearly
    better.

    >>> best_step(("zero_shot", "ensemble"), {"zero_shot": 80.0, "ensemble": 79.8}, split="val")
    ChosenStep(step='ensemble', why="the top of the ladder, which no step beats clearly on 'val'")
    """
    top = steps[-1]
    there = [step for step in steps if step in percent]
    best = max(there, key=lambda step: (percent[step], step == top), default=top)
    if top not in percent:
        return ChosenStep(top, f"the top of the ladder: split {split!r} has no mAP of it")
    if percent[best] - percent[top] < MARGIN:
        return ChosenStep(top, f"the top of the ladder, which no step beats clearly on {split!r}")
    return ChosenStep(
        best, f"mAP {percent[best]:.1f} on {split!r}, where {top} has {percent[top]:.1f}"
    )


def evaluated_step(steps: Sequence[Step], metrics: Mapping[str, Any]) -> ChosenStep:
    """By the evaluation of the validation split in a run's metrics; else the top."""
    kept = metrics.get("evaluation", {}).get(VALIDATION)
    if kept is None:
        why = f"the top of the ladder: split {VALIDATION!r} was not evaluated"
        return ChosenStep(steps[-1], why)
    ladder = kept["ladder"]
    percent = {step: found["mAP"] for step, found in ladder.items() if found["mAP"] is not None}
    return best_step(steps, percent, split=VALIDATION)
