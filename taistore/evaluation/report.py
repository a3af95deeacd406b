"""What an evaluation found: plain JSON and a table in percent, objects and a frame in fractions."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from taistore.evaluation.bootstrap import LEVEL
from taistore.evaluation.calibration.reached import Reached
from taistore.evaluation.drawing import shown
from taistore.evaluation.labelled_scores import images_of
from taistore.evaluation.metrics import Metrics
from taistore.evaluation.protocols import Protocol
from taistore.printable import counted

SHOWN_LABELS = 5

NO_PHOTOS = " (made of the store's texts: no photo is among them)"
"""Said after their number wherever figures are of synthetic images."""

_SPLITS, _SYNTHETIC = "evaluation", "synthetic_evaluation"
"""Where the metrics of a run keep evaluations, apart: a split may have any name."""


def kind_of_images(split: str | None) -> str:
    """What ``--json`` says of the images of a split, or of those that are in none.

    >>> kind_of_images("synthetic"), kind_of_images(None)
    ('photos', 'synthetic')
    """
    return "synthetic" if split is None else "photos"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelResult:
    """One label: known positives in the split and its AP per step (NaN without a positive)."""

    key: str
    name: str
    positives: int
    average_precision: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Intervals:
    """Percentile intervals of mAP per step, as fractions, over so many resamples of the images."""

    samples: int
    seed: int
    mean_average_precision: dict[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """Percent, two decimals."""
        return {
            "samples": self.samples,
            "seed": self.seed,
            "level": 100 * LEVEL,
            "mAP": {
                step: [percent(low), percent(high)]
                for step, (low, high) in self.mean_average_precision.items()
            },
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The ladder of one run on one split; ``ladder`` and ``labels`` hold fractions, 0.85 for 85 %.

    ``split`` is None where the images are the store's synthetic ones, which are in none.
    ``ladder["adapter"].mean_average_precision`` is the mAP of a step.

    ``top`` is the highest step. ``images_with_regions`` of the images were scored with their
    regions. ``images_without_vectors`` were labelled, but are not part of it, and of
    ``images_without_labels`` no label is known.
    ``pictures`` are files that were drawn of it. ``reached`` is there of a calibrated run.
    """

    run_id: str
    split: str | None
    images: int
    images_without_vectors: int
    images_without_labels: int
    images_with_regions: int
    top: str
    ladder: dict[str, Metrics]
    labels: tuple[LabelResult, ...]
    protocol: Protocol | None = None
    intervals: Intervals | None = None
    warnings: tuple[str, ...] = ()
    pictures: tuple[Path, ...] = ()
    reached: Reached | None = None

    @property
    def regions_used(self) -> bool:
        """Whether any image was scored with its regions."""
        return self.images_with_regions > 0

    @property
    def synthetic(self) -> bool:
        """Whether it was measured on synthetic images, not on photos."""
        return self.split is None

    def recorded(self, metrics: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
        """A run's metrics with what is ``kept`` of this evaluation in them."""
        if self.split is None:
            return {**metrics, _SYNTHETIC: kept}
        return {**metrics, _SPLITS: {**metrics.get(_SPLITS, {}), self._key(self.split): kept}}

    def found_in(self, metrics: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What :meth:`recorded` kept of another run on the same images; None without."""
        found: Mapping[str, Any] | None
        if self.split is None:
            found = metrics.get(_SYNTHETIC)
        else:
            found = metrics.get(_SPLITS, {}).get(self._key(self.split))
        return found

    def _key(self, split: str) -> str:
        """The split, with the protocol where there is one."""
        return f"{self.protocol.name}:{split}" if self.protocol else split

    @property
    def labels_without_positives(self) -> int:
        """Labels that no image of the split is known to show; no mean includes them."""
        return sum(not label.positives for label in self.labels)

    def to_json(self) -> dict[str, Any]:
        """The shape of ``evaluate --json``: percent, two decimals; None where undefined.

        ``kind`` is photos or synthetic. ``protocol`` and ``bootstrap`` are there where they were
        asked for, ``precision`` where the run is calibrated.
        """
        return {
            "run_id": self.run_id,
            "kind": kind_of_images(self.split),
            "split": self.split,
            "images": self.images,
            "images_without_vectors": self.images_without_vectors,
            "images_without_labels": self.images_without_labels,
            "labels_without_positives": self.labels_without_positives,
            "regions_used": self.regions_used,
            "images_with_regions": self.images_with_regions,
            "ladder": {step: _figures(metrics) for step, metrics in self.ladder.items()},
            "labels": [
                {
                    "key": label.key,
                    "name": label.name,
                    "positives": label.positives,
                    "AP": percent(label.average_precision[self.top]),
                    "AP_by_step": {
                        step: percent(value) for step, value in label.average_precision.items()
                    },
                }
                for label in self.labels
            ],
            "warnings": list(self.warnings),
            **({"protocol": self.protocol.to_json()} if self.protocol else {}),
            **({"bootstrap": self.intervals.to_json()} if self.intervals else {}),
            **({"precision": self.reached.to_json()} if self.reached else {}),
        }

    def frame(self) -> pl.DataFrame:
        """One row a label: key, name, positives and AP by step, as fractions; null without one."""
        return pl.DataFrame(
            {
                "label_key": [label.key for label in self.labels],
                "label_name": [label.name for label in self.labels],
                "positives": [label.positives for label in self.labels],
                **{
                    step: pl.Series(
                        [label.average_precision[step] for label in self.labels], dtype=pl.Float64
                    )
                    for step in self.ladder
                },
            }
        ).with_columns(pl.col(pl.Float64).fill_nan(None))

    def table(self) -> str:
        """The ladder with its gains over zero-shot, the best and the worst labels, the warnings."""
        known = [label for label in self.labels if label.positives]
        lines = [self.protocol.text(), ""] if self.protocol else []
        lines += [
            f"{self.images:,} {images_of(self.split)}{NO_PHOTOS if self.synthetic else ''}, "
            f"{len(known):,} of {counted(len(self.labels), 'label')} with positives, "
            f"{'with' if self.regions_used else 'without'} regions; percent",
            *self._left_out(),
            "",
            *self._ladder_lines(),
        ]
        ranked = sorted(known, key=lambda label: -label.average_precision[self.top])
        shown = min(SHOWN_LABELS, len(ranked) // 2)
        if shown:
            lines += ["", f"best labels ({self.top})", *self._label_lines(ranked[:shown])]
            lines += [f"worst labels ({self.top})", *self._label_lines(ranked[: -shown - 1 : -1])]
        if self.reached:
            lines += ["", *self.reached.lines()]
        lines += [f"\nWARNING: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _left_out(self) -> list[str]:
        if not self.images_without_labels:
            return []
        return [f"{self.images_without_labels:,} more of the split left out: no known label"]

    def _ladder_lines(self) -> list[str]:
        lines = [f"{'step':16}{'mAP':>6}{'gain':>7}{'micro AP':>11}{'CF1@3':>8}{'OF1@3':>8}"]
        if self.intervals:
            lines[0] += f"   mAP, {100 * LEVEL:.0f} % of {self.intervals.samples:,} resamples"
        start = next(iter(self.ladder.values())).mean_average_precision
        for number, (step, found) in enumerate(self.ladder.items()):
            gain = 100 * (found.mean_average_precision - start)
            line = (
                f"{step:16}{100 * found.mean_average_precision:6.1f}"
                f"{f'{gain:+.1f}' if number else '':>7}"
                f"{100 * found.micro_average_precision:11.1f}"
                f"{100 * found.class_f1:8.1f}{100 * found.overall_f1:8.1f}"
            )
            if self.intervals:
                low, high = self.intervals.mean_average_precision[step]
                line += f"   {100 * low:.1f} to {100 * high:.1f}"
            if step == "regions" and self.images_with_regions < self.images:
                line += f"   ({self.images_with_regions:,} of {self.images:,} images have some)"
            lines.append(line)
        return lines

    def _label_lines(self, labels: Sequence[LabelResult]) -> list[str]:
        return [
            f"  {shown(label.name, 30):30} {100 * label.average_precision[self.top]:5.1f}"
            f"   ({counted(label.positives, 'image')})"
            for label in labels
        ]


def _figures(metrics: Metrics) -> dict[str, float | None]:
    return {
        "mAP": percent(metrics.mean_average_precision),
        "micro_AP": percent(metrics.micro_average_precision),
        "CF1": percent(metrics.class_f1),
        "OF1": percent(metrics.overall_f1),
    }


def percent(fraction: float) -> float | None:
    """A fraction in percent with two decimals; None where it is undefined."""
    return None if math.isnan(fraction) else round(100 * fraction, 2)
