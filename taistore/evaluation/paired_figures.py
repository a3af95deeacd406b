"""Figures of two runs on the images that both have, label block by label block.

Shapes: I images, N labels, S resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.evaluation import label_columns
from taistore.evaluation.bootstrap import (
    ResampledMean,
    Resamples,
    interval,
    resampled_precision,
    two_sided_p,
)
from taistore.evaluation.label_columns import LabelCells, bytes_a_cell, label_blocks
from taistore.evaluation.labelled_scores import LabelledSplit
from taistore.evaluation.metrics import label_precision, mean_average_precision
from taistore.evaluation.report import percent
from taistore.evaluation.split_figures import FilledBlock
from taistore.labels import PRESENT
from taistore.progress import Progress
from taistore.scoring.ladders.ladder import Step


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


class PairedFigures:
    """Two runs' figures on the images that both have, and how they vary; labels come in blocks.

    ``labels`` and ``positives`` are those of the labels so far, at the top of ``steps``.
    """

    def __init__(
        self, first: LabelledSplit, second: LabelledSplit, *, samples: int, seed: int
    ) -> None:
        self._sides = (first, second)
        self._samples, self._seed = samples, seed
        self.steps: tuple[Step, ...] = tuple(s for s in first.steps if s in second.steps)
        # Without regions two steps are one, which need not be resampled twice.
        self._keys = {s: (first.same_as(s), second.same_as(s)) for s in self.steps}
        self._figures = {key: _Figures(samples) for key in self._keys.values()}
        self.images = self.left_out = 0
        self.labels: list[Difference] = []
        self.positives: list[int] = []

    def blocks(self) -> list[slice]:
        """Blocks of labels whose cells of both runs fit into memory together."""
        cell = sum(bytes_a_cell(len(side.kept_steps)) for side in self._sides)
        most_N = np.maximum(*(side.most_N for side in self._sides))
        return label_blocks(most_N, cells=label_columns.CELL_BYTES // cell)

    def add(self, first: FilledBlock, second: FilledBlock, *, progress: Progress) -> None:
        """Take the figures of a block of labels; both runs have filled the same."""
        numbers = self._numbers(first.image_ids, second.image_ids)
        resamples = Resamples(self.images, self._samples, self._seed)
        with progress("bootstrap", total=len(self._figures), unit="step") as bar:
            for key, figures in self._figures.items():
                pairs = [
                    _paired(
                        first.columns.label(key[0], n), second.columns.label(key[1], n), numbers
                    )
                    for n in range(len(first.columns))
                ]
                labels = figures.add(pairs, resamples)
                if key == self._keys[self.steps[-1]]:
                    self.labels += labels
                    self.positives += [int((cells.truth == PRESENT).sum()) for cells, _ in pairs]
                bar.advance()

    def difference(self, step: Step) -> Difference:
        """Of mAP."""
        return self._figures[self._keys[step]].difference()

    def _numbers(
        self, first: NDArray[np.bytes_], second: NDArray[np.bytes_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each run's images the number among those that both have, or -1."""
        common, *rows = np.intersect1d(first, second, assume_unique=True, return_indices=True)
        if not len(common):
            one, other = self._sides
            raise ScoringError(
                f"runs {one.run.run_id} and {other.run.run_id} share no labelled "
                f"{one.scope.images}: add vectors of both encoders for the same images"
            )
        self.images = len(common)
        self.left_out = len(first) + len(second) - 2 * len(common)
        numbers_first, numbers_second = np.full(len(first), -1), np.full(len(second), -1)
        numbers_first[rows[0]] = numbers_second[rows[1]] = np.arange(len(common))
        return numbers_first, numbers_second


class _Figures:
    """Of one step: each label's AP in both runs, and mAP of their resamples."""

    def __init__(self, samples: int) -> None:
        self._points: tuple[list[float], list[float]] = ([], [])
        self._means = (ResampledMean(samples), ResampledMean(samples))

    def add(
        self, pairs: Sequence[tuple[LabelCells, LabelCells]], resamples: Resamples
    ) -> list[Difference]:
        """Count more labels; returns what each label differs by."""
        drawn, points = [], []
        for kept, mean, cells in zip(
            self._points, self._means, zip(*pairs, strict=True), strict=True
        ):
            points.append([label_precision(label.scores, label.truth) for label in cells])
            drawn.append(resampled_precision(cells, resamples))
            kept.extend(points[-1])
            mean.add(drawn[-1])
        apart_SN = drawn[1] - drawn[0]
        return [
            _difference(first, second, apart_SN[:, n])
            for n, (first, second) in enumerate(zip(*points, strict=True))
        ]

    def difference(self) -> Difference:
        """Of mAP over the labels so far."""
        first, second = (mean_average_precision(np.array(points)) for points in self._points)
        return _difference(first, second, self._means[1].values() - self._means[0].values())


def _paired(
    first: LabelCells, second: LabelCells, numbers: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> tuple[LabelCells, LabelCells]:
    """Both runs' cells of one label, of the images that both have; what is known is one."""
    images = [side[cells.images] for side, cells in zip(numbers, (first, second), strict=True)]
    kept = [np.flatnonzero(side >= 0) for side in images]
    common, *rows = np.intersect1d(
        images[0][kept[0]], images[1][kept[1]], assume_unique=True, return_indices=True
    )
    at_first, at_second = kept[0][rows[0]], kept[1][rows[1]]
    truth = first.truth[at_first]
    return (
        LabelCells(common, truth, first.scores[at_first]),
        LabelCells(common, truth, second.scores[at_second]),
    )


def _difference(first: float, second: float, apart_S: NDArray[Any]) -> Difference:
    low, high = interval(apart_S)
    return Difference(first=first, second=second, low=low, high=high, p=two_sided_p(apart_S))
