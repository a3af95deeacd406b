"""The precision that a calibrated run reaches on other photos, beside the one promised.

Shapes: K known cells of a label.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from scipy.special import bdtr

from taistore.labels import PRESENT, Label
from taistore.scoring.cuts.calibration_file import Calibration

CLEARLY = 0.05
"""So unlikely it is, if the promise holds, that so few tags or fewer are right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelPrecision:
    """One label with a cut: ``right`` of the ``tagged`` images that are known show it."""

    key: str
    name: str
    threshold: float
    tagged: int
    right: int

    @property
    def precision(self) -> float | None:
        """The share that is right; None without a tag."""
        return self.right / self.tagged if self.tagged else None

    def is_clearly_below(self, promised: float) -> bool:
        """Whether chance alone hardly explains that so few are right."""
        return bool(self.tagged and bdtr(self.right, self.tagged, promised) < CLEARLY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """What became of a promise on the images of an evaluation.

    ``same_images`` says that the thresholds were fitted on this very split: that is no test.
    ``labels`` are those that have a cut, ``labels_without_cut`` have none.
    """

    promised: float
    confidence: float
    step: str
    split: str
    same_images: bool
    labels: tuple[LabelPrecision, ...]
    labels_without_cut: int

    @property
    def tested(self) -> list[LabelPrecision]:
        """Labels of which there is a tag."""
        return [label for label in self.labels if label.tagged]

    @property
    def precision(self) -> float | None:
        """Share of all these tags that is right; None without a tag."""
        tagged = sum(label.tagged for label in self.labels)
        return sum(label.right for label in self.labels) / tagged if tagged else None

    @property
    def kept(self) -> int:
        """Tested labels that are as precise as promised."""
        return sum(label.right >= self.promised * label.tagged for label in self.tested)

    @property
    def clearly_below(self) -> int:
        """Tested labels that are less precise than chance explains."""
        return sum(label.is_clearly_below(self.promised) for label in self.tested)

    def to_json(self) -> dict[str, Any]:
        """Fractions, four decimals; None without a tag."""
        return {
            "promised": self.promised,
            "confidence": self.confidence,
            "step": self.step,
            "calibrated_on": self.split,
            "same_images": self.same_images,
            "precision": _rounded(self.precision),
            "labels_tested": len(self.tested),
            "labels_kept": self.kept,
            "labels_clearly_below": self.clearly_below,
            "labels_without_cut": self.labels_without_cut,
            "labels": [
                {
                    "key": label.key,
                    "name": label.name,
                    "threshold": label.threshold,
                    "tagged": label.tagged,
                    "right": label.right,
                    "precision": _rounded(label.precision),
                }
                for label in self.labels
            ],
        }

    def lines(self) -> list[str]:
        """For people: in total, and the labels that are below what was promised."""
        lines = [
            f"precision promised {self.promised:g} by split {self.split!r} (step {self.step}): "
            + ("no tag here" if self.precision is None else f"reached {self.precision:.3f}"),
            f"  {self.kept:,} of {len(self.tested):,} labels reach it here, "
            f"{self.clearly_below:,} miss it by more than chance; "
            f"{self.labels_without_cut:,} have no threshold",
        ]
        if self.same_images:
            lines.append("  the thresholds were fitted on these very images: this is no test")
        below = [x for x in self.tested if x.right < self.promised * x.tagged]
        for label in sorted(below, key=lambda one: one.right / one.tagged)[:10]:
            lines.append(f"  {label.name:30.30} {label.right:,} of {label.tagged:,} right")
        return lines


def reached(
    calibration: Calibration,
    *,
    split: str,
    labels: Iterable[tuple[Label, Any]],
) -> Reached:
    """Hold the cuts of a calibration against the known cells of labels.

    ``labels`` come with their :class:`~taistore.evaluation.label_columns.LabelCells` of the
    calibration's step.
    """
    promised = calibration.precision
    cuts = {
        one.key: cut.threshold
        for one in calibration.labels
        for cut in one.cuts
        if cut.precision == promised
    }
    found, without = [], 0
    for label, cells in labels:
        if label.key not in cuts:
            without += 1
            continue
        tagged_K = cells.scores >= cuts[label.key]
        found.append(
            LabelPrecision(
                key=label.key,
                name=label.name,
                threshold=cuts[label.key],
                tagged=int((tagged_K & (cells.truth >= 0)).sum()),
                right=int((tagged_K & (cells.truth == PRESENT)).sum()),
            )
        )
    return Reached(
        promised=promised,
        confidence=calibration.confidence,
        step=calibration.step,
        split=calibration.split,
        same_images=calibration.split == split,
        labels=tuple(found),
        labels_without_cut=without,
    )


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
