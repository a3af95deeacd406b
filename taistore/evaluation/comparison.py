"""Is one run better than another? Both on the same images, with a paired bootstrap.

Every resample draws the same images for both runs, so that what is easy or hard for both cancels
out. Shapes: I images, N labels, S resamples, D embedding dimension.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.evaluation.bootstrap import (
    LEVEL,
    Resamples,
    interval,
    resampled_mean,
    resampled_precision,
    two_sided_p,
)
from taistore.evaluation.drawing import shown
from taistore.evaluation.evaluate import chosen_scope, leave_out_labels
from taistore.evaluation.labelled_scores import ScoredSplit, scored_split
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.evaluation.protocols import Protocol
from taistore.evaluation.report import SHOWN_LABELS, percent
from taistore.progress import Progress, no_progress
from taistore.scoring.ladder import Step
from taistore.store.store import Store

SAMPLES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A figure of both runs, the second minus the first with its interval, and p; fractions."""

    first: float
    second: float
    low: float
    high: float
    p: float

    @property
    def value(self) -> float:
        """The second run's figure minus the first one's."""
        return self.second - self.first

    def to_json(self) -> dict[str, float | None]:
        """Percent, two decimals; ``p`` as it is."""
        return {
            "first": percent(self.first),
            "second": percent(self.second),
            "difference": percent(self.value),
            "low": percent(self.low),
            "high": percent(self.high),
            "p": None if np.isnan(self.p) else round(self.p, 5),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelDifference:
    """One label: known positives, and the difference of its AP."""

    key: str
    name: str
    positives: int
    precision: Difference


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two runs on the same images; ``labels`` compare the step ``top``.

    ``left_out`` images have a vector of one of two encoders only.
    """

    runs: tuple[str, str]
    split: str
    images: int
    left_out: int
    samples: int
    seed: int
    top: str
    steps: dict[str, Difference]
    labels: tuple[LabelDifference, ...]
    protocol: Protocol | None = None

    def to_json(self) -> dict[str, Any]:
        """The shape of ``compare --json``: percent, two decimals."""
        return {
            "runs": list(self.runs),
            "split": self.split,
            "images": self.images,
            "images_left_out": self.left_out,
            "bootstrap": {"samples": self.samples, "seed": self.seed, "level": 100 * LEVEL},
            "steps": {step: found.to_json() for step, found in self.steps.items()},
            "labels_step": self.top,
            "labels": [
                {
                    "key": label.key,
                    "name": label.name,
                    "positives": label.positives,
                    **label.precision.to_json(),
                }
                for label in self.labels
            ],
            **({"protocol": self.protocol.to_json()} if self.protocol else {}),
        }

    def frame(self) -> pl.DataFrame:
        """One row a label: its AP in both runs and the difference with its interval, as fractions.

        ``p`` is the difference's; null where a label has no positive.
        """
        rows = [
            {
                "label_key": label.key,
                "label_name": label.name,
                "positives": label.positives,
                "first": label.precision.first,
                "second": label.precision.second,
                "difference": label.precision.value,
                "low": label.precision.low,
                "high": label.precision.high,
                "p": label.precision.p,
            }
            for label in self.labels
        ]
        return pl.DataFrame(rows).with_columns(pl.col(pl.Float64).fill_nan(None))

    def table(self) -> str:
        """The steps' differences, and the labels that gain and lose most."""
        lines = [self.protocol.text(), ""] if self.protocol else []
        lines += [
            f"first   {self.runs[0]}",
            f"second  {self.runs[1]}",
            f"{self.images:,} images of split {self.split!r}, {self.samples:,} paired resamples "
            f"(seed {self.seed}); mAP in percent, second minus first",
        ]
        if self.left_out:
            lines.append(f"{self.left_out:,} images left out: no vector of one of the encoders")
        lines.append(
            f"\n{'step':16}{'first':>7}{'second':>8}{'difference':>12}"
            f"{f'{100 * LEVEL:.0f} % interval':>20}{'p':>9}"
        )
        for step, found in self.steps.items():
            between = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
            lines.append(
                f"{step:16}{100 * found.first:7.1f}{100 * found.second:8.1f}"
                f"{100 * found.value:+12.2f}{between:>20}{found.p:9.4f}"
            )
        return "\n".join([*lines, *self._label_lines()])

    def _label_lines(self) -> list[str]:
        known = [label for label in self.labels if label.positives]
        ranked = sorted(known, key=lambda label: -label.precision.value)
        count = min(SHOWN_LABELS, len(ranked) // 2)
        lines = []
        for title, labels in (("gain", ranked[:count]), ("lose", ranked[: -count - 1 : -1])):
            lines += [f"\nlabels that {title} most ({self.top})"] if count else []
            lines += [
                f"  {shown(label.name, 30):30} {100 * label.precision.value:+6.1f}   "
                f"{100 * label.precision.low:+.1f} to {100 * label.precision.high:+.1f}   "
                f"({label.positives:,} {'image' if label.positives == 1 else 'images'})"
                for label in labels
            ]
        return lines


def compare(
    store: Store,
    runs: tuple[str, str],
    *,
    split: str | None = None,
    protocol: Protocol | None = None,
    samples: int = SAMPLES,
    seed: int = 0,
    device: str | torch.device = "cpu",
    progress: Progress = no_progress,
) -> Comparison:
    """mAP of every step that both ``runs`` have, and each label's AP, with paired intervals.

    The runs may be of different encoders: then images that have vectors of both take part. Raises
    :class:`ScoringError` where the runs are one or share no image, and what
    :func:`~taistore.evaluation.evaluate.evaluate` raises.
    """
    ids = (store.run(runs[0]).run_id, store.run(runs[1]).run_id)
    if ids[0] == ids[1]:
        raise ScoringError(f"{ids[0]} is compared with itself: name two different runs")
    scope = chosen_scope(store, split, protocol)
    with (
        scored_split(store, ids[0], scope, device=device, progress=progress) as first,
        scored_split(store, ids[1], scope, device=device, progress=progress) as second,
    ):
        for scored in (first, second):
            leave_out_labels(scored, protocol)
        paired = _Paired(first, second, Resamples(0, samples, seed))
        steps: dict[str, Difference] = {}
        labels: list[Difference] = []
        with progress("bootstrap", total=len(paired.steps), unit="step") as bar:
            for step in paired.steps:
                steps[step], labels = paired.differences(step)
                bar.advance()
        positives_N = (paired.truth_IN == 1).sum(axis=0).tolist()
    return Comparison(
        runs=ids,
        split=scope.split,
        images=len(paired.rows[0]),
        left_out=paired.left_out,
        samples=samples,
        seed=seed,
        top=paired.steps[-1],
        steps=steps,
        labels=tuple(
            LabelDifference(key=label.key, name=label.name, positives=positives, precision=found)
            for label, positives, found in zip(
                scope.labels(store.labels), positives_N, labels, strict=True
            )
        ),
        protocol=protocol,
    )


class _Paired:
    """Two runs' scores of the images that both have, and their resampled figures."""

    def __init__(self, first: ScoredSplit, second: ScoredSplit, resamples: Resamples) -> None:
        self._sides = (first, second)
        _, *rows = np.intersect1d(
            first.image_ids, second.image_ids, assume_unique=True, return_indices=True
        )
        self.rows = tuple(rows)
        if not len(self.rows[0]):
            raise ScoringError(
                f"runs {first.run.run_id} and {second.run.run_id} share no labelled image of split "
                f"{first.scope.split!r}: add vectors of both encoders for the same images"
            )
        self.left_out = len(np.union1d(first.image_ids, second.image_ids)) - len(self.rows[0])
        self.steps: tuple[Step, ...] = tuple(s for s in first.steps if s in second.steps)
        self.truth_IN = first.board.truth[self.rows[0]]
        self._resamples = Resamples(len(self.rows[0]), resamples.count, resamples.seed)
        self._done: dict[tuple[Step, Step], tuple[Difference, list[Difference]]] = {}

    def differences(self, step: Step) -> tuple[Difference, list[Difference]]:
        """Of mAP, and of each label's AP."""
        first, second = self._sides
        # Without regions two steps are one, which need not be resampled twice.
        key = (first.same_as(step), second.same_as(step))
        if key not in self._done:
            self._done[key] = self._compute(step)
        return self._done[key]

    def _compute(self, step: Step) -> tuple[Difference, list[Difference]]:
        points, drawn = [], []
        for side, rows in zip(self._sides, self.rows, strict=True):
            scores_IN = side.scores(step)[rows]
            points.append(average_precision(scores_IN, self.truth_IN))
            drawn.append(resampled_precision(scores_IN, self.truth_IN, self._resamples))
        whole = _difference(
            mean_average_precision(points[0]),
            mean_average_precision(points[1]),
            resampled_mean(drawn[1]) - resampled_mean(drawn[0]),
        )
        apart_SN = drawn[1] - drawn[0]
        labels = [
            _difference(float(points[0][n]), float(points[1][n]), apart_SN[:, n])
            for n in range(apart_SN.shape[1])
        ]
        return whole, labels


def _difference(first: float, second: float, apart_S: NDArray[Any]) -> Difference:
    low, high = interval(apart_S)
    return Difference(first=first, second=second, low=low, high=high, p=two_sided_p(apart_S))
