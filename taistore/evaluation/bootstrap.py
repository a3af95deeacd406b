"""How much figures would vary with other test images: the bootstrap over images.

A resample draws as many images as there are, with replacement; an image that is drawn twice counts
twice. Average precision is taken of all resamples at once, from one sort per label, as a function
of how often each image was drawn. Shapes: I images, N labels, S resamples, B resamples of a block,
G distinct scores of a label's positives.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from taistore.evaluation.label_columns import LabelCells
from taistore.labels import PRESENT, UNKNOWN

BLOCK_CELLS = 2**22
"""Cells of drawn counts, and of sorted labels, held at once: some 16 MB and 50 MB."""

LEVEL = 0.95
"""Coverage of the intervals."""


@dataclass(frozen=True, slots=True)
class Resamples:
    """``count`` draws of ``images`` images; the same seed draws the same, in any block size."""

    images: int
    count: int
    seed: int

    def blocks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Which resamples these are, and how often each image is in them: float32 [I, B]."""
        random = np.random.default_rng(self.seed)
        step = max(1, BLOCK_CELLS // max(self.images, 1))
        for start in range(0, self.count, step):
            block = slice(start, min(start + step, self.count))
            drawn_IB = np.empty((self.images, block.stop - block.start), np.float32)
            for b in range(drawn_IB.shape[1]):
                drawn = random.integers(self.images, size=self.images)
                drawn_IB[:, b] = np.bincount(drawn, minlength=self.images)
            yield block, drawn_IB


def resampled_precision(labels: Sequence[LabelCells], resamples: Resamples) -> NDArray[np.float32]:
    """Average precision [S, N] of each label in each resample, ties as in ``metrics``.

    NaN where a resample holds no positive of the label. Memory beyond the result is bounded.
    """
    found_SN = np.full((resamples.count, len(labels)), np.nan, np.float32)
    step = max(1, BLOCK_CELLS // max(resamples.images, 1))
    for start in range(0, len(labels), step):
        rankings = [_Ranking.of(cells, resamples.images) for cells in labels[start : start + step]]
        for block, drawn_IB in resamples.blocks():
            for n, ranking in enumerate(rankings, start):
                found_SN[block, n] = ranking.precision(drawn_IB)
    return found_SN


@dataclass(frozen=True, slots=True)
class _Ranking:
    """One label's images, sorted once.

    Row g of ``known`` [G, I] marks the images that score at least as much as the positives of the
    g-th best score, but less than those of the one before; ``positive`` those that are positives.
    """

    known: Any
    positive: Any

    @classmethod
    def of(cls, cells: LabelCells, images: int) -> "_Ranking":
        levels_G = np.unique(cells.scores[cells.truth == PRESENT])
        marks = []
        for there in (cells.truth != UNKNOWN, cells.truth == PRESENT):
            rank = len(levels_G) - np.searchsorted(levels_G, cells.scores[there], side="right")
            # Below the last positive nothing counts any more.
            counts = rank < len(levels_G)
            ones = np.ones(int(counts.sum()), np.float32)
            where = (rank[counts], cells.images[there][counts])
            marks.append(csr_matrix((ones, where), shape=(len(levels_G), images)))
        return cls(*marks)

    def precision(self, drawn_IB: NDArray[np.float32]) -> NDArray[np.float32]:
        """Average precision [B] where each image counts as often as it was drawn."""
        if not self.positive.shape[0]:
            return np.full(drawn_IB.shape[1], np.nan, np.float32)
        new_GB = self.positive @ drawn_IB
        right_GB = np.cumsum(new_GB, axis=0)
        known_GB = np.cumsum(self.known @ drawn_IB, axis=0)
        # Where nothing was drawn yet, no positive was either.
        summed_B = (new_GB * right_GB / np.maximum(known_GB, 1)).sum(axis=0)
        positives_B = right_GB[-1]
        average_B = np.full(len(positives_B), np.nan, np.float32)
        np.divide(summed_B, positives_B, out=average_B, where=positives_B > 0)
        return average_B


class ResampledMean:
    """mAP [S] of resamples, from labels that come block by block.

    The mean over the labels that have a positive in the resample; NaN where none has.
    """

    def __init__(self, samples: int) -> None:
        self._total_S = np.zeros(samples)
        self._count_S = np.zeros(samples, np.int64)

    def add(self, precision_SN: NDArray[np.float32]) -> None:
        """Count more labels."""
        there_SN = ~np.isnan(precision_SN)
        self._count_S += there_SN.sum(axis=1)
        self._total_S += np.where(there_SN, precision_SN, 0).sum(axis=1, dtype=np.float64)

    def values(self) -> NDArray[np.float64]:
        """mAP [S] over the labels so far."""
        mean_S = self._total_S / np.maximum(self._count_S, 1)
        return np.where(self._count_S > 0, mean_S, np.nan)


def interval(values_S: NDArray[Any], *, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of a figure's resampled values; NaN where there are none."""
    values_S = values_S[~np.isnan(values_S)]
    if not len(values_S):
        return float("nan"), float("nan")
    low, high = np.quantile(values_S, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def two_sided_p(differences_S: NDArray[Any]) -> float:
    """How likely a difference at least as far from 0 is where there is none; NaN without values.

    Twice the smaller share of resamples on either side of 0, each share with one more resample
    there and in all, so that it is never 0 (Davison and Hinkley 1997, 4.2).
    """
    differences_S = differences_S[~np.isnan(differences_S)]
    if not len(differences_S):
        return float("nan")
    sides = [(differences_S <= 0).sum(), (differences_S >= 0).sum()]
    return min(1.0, 2 * (1 + int(min(sides))) / (1 + len(differences_S)))
