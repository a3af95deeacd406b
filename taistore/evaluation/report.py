"""What an evaluation found: plain JSON for programs, a table for people. Values in percent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taistore.evaluation.metrics import Metrics

SHOWN_LABELS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelResult:
    """One label: known positives in the split and its AP per step (NaN without a positive)."""

    key: str
    name: str
    positives: int
    average_precision: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """The ladder of one run on one split; ``ladder`` and ``labels`` hold fractions.

    ``top`` is the highest step. ``images_without_vectors`` were labelled, but are not part of it.
    """

    run_id: str
    split: str
    images: int
    images_without_vectors: int
    regions_used: bool
    top: str
    ladder: dict[str, Metrics]
    labels: tuple[LabelResult, ...]
    warnings: tuple[str, ...] = ()

    @property
    def labels_without_positives(self) -> int:
        """Labels that no image of the split is known to show; no mean includes them."""
        return sum(not label.positives for label in self.labels)

    def to_json(self) -> dict[str, Any]:
        """The shape of ``evaluate --json``: percent, two decimals; None where undefined."""
        return {
            "run_id": self.run_id,
            "split": self.split,
            "images": self.images,
            "images_without_vectors": self.images_without_vectors,
            "labels_without_positives": self.labels_without_positives,
            "regions_used": self.regions_used,
            "ladder": {step: _figures(metrics) for step, metrics in self.ladder.items()},
            "labels": [
                {
                    "key": label.key,
                    "name": label.name,
                    "positives": label.positives,
                    "AP": _percent(label.average_precision[self.top]),
                    "AP_by_step": {
                        step: _percent(value) for step, value in label.average_precision.items()
                    },
                }
                for label in self.labels
            ],
            "warnings": list(self.warnings),
        }

    def table(self) -> str:
        """The ladder with its gains over zero-shot, the best and the worst labels, the warnings."""
        known = [label for label in self.labels if label.positives]
        lines = [
            f"{self.images:,} images of split {self.split!r}, {len(known):,} of "
            f"{len(self.labels):,} labels with positives, "
            f"{'with' if self.regions_used else 'without'} regions; percent",
            "",
            *_ladder_lines(self.ladder),
        ]
        ranked = sorted(known, key=lambda label: -label.average_precision[self.top])
        shown = min(SHOWN_LABELS, len(ranked) // 2)
        if shown:
            lines += ["", f"best labels ({self.top})", *self._label_lines(ranked[:shown])]
            lines += [f"worst labels ({self.top})", *self._label_lines(ranked[: -shown - 1 : -1])]
        lines += [f"\nWARNING: {warning}" for warning in self.warnings]
        return "\n".join(lines)

    def _label_lines(self, labels: Sequence[LabelResult]) -> list[str]:
        return [
            f"  {_cut(label.name, 30):30} {100 * label.average_precision[self.top]:5.1f}"
            f"   ({label.positives:,} {'image' if label.positives == 1 else 'images'})"
            for label in labels
        ]


def _ladder_lines(ladder: dict[str, Metrics]) -> list[str]:
    lines = [f"{'step':16}{'mAP':>6}{'gain':>7}{'micro AP':>11}{'CF1@3':>8}{'OF1@3':>8}"]
    start = next(iter(ladder.values())).mean_average_precision
    for number, (step, metrics) in enumerate(ladder.items()):
        gain = 100 * (metrics.mean_average_precision - start)
        lines.append(
            f"{step:16}{100 * metrics.mean_average_precision:6.1f}"
            f"{f'{gain:+.1f}' if number else '':>7}"
            f"{100 * metrics.micro_average_precision:11.1f}"
            f"{100 * metrics.class_f1:8.1f}{100 * metrics.overall_f1:8.1f}"
        )
    return lines


def _figures(metrics: Metrics) -> dict[str, float | None]:
    return {
        "mAP": _percent(metrics.mean_average_precision),
        "micro_AP": _percent(metrics.micro_average_precision),
        "CF1": _percent(metrics.class_f1),
        "OF1": _percent(metrics.overall_f1),
    }


def _percent(fraction: float) -> float | None:
    return None if math.isnan(fraction) else round(100 * fraction, 2)


def _cut(name: str, width: int) -> str:
    name = "".join(c if c.isprintable() else " " for c in name)
    return name if len(name) <= width else name[: width - 1] + "…"
