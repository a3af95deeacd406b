"""Exact figures of a split from two passes over its scores, which nobody holds.

Average precision depends on how many known cells score at least as much as each positive. The first
pass collects the positives, the second counts. Shapes: B images of a batch, N labels, P known
positives of all labels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taistore.evaluation.metrics import at_or_above, mean_precision
from taistore.labels import PRESENT, UNKNOWN
from taistore.scoring.ladders.ladder import Step

Scores = dict[Step, NDArray[np.float32]]


class RankCounts:
    """Counts of ranks, of the labels one by one and of all their cells together.

    Takes 20 bytes a known positive and step, whatever the number of images and labels.
    """

    def __init__(self, steps: Sequence[Step], labels: int) -> None:
        self._labels = labels
        self._found: dict[Step, list[NDArray[np.float32]]] = {step: [] for step in steps}
        self._label_ids: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        self._ranks: dict[Step, _StepRanks] = {}

    def collect(self, truth_BN: NDArray[np.int8], scores: Scores) -> None:
        """First pass: keep the scores of a batch's positives."""
        row_P, label_P = np.nonzero(truth_BN == PRESENT)
        self._label_ids.append(label_P.astype(np.int32))
        for step, found in self._found.items():
            found.append(scores[step][row_P, label_P])

    def begin_counting(self, forgotten: NDArray[np.int64]) -> None:
        """Between the passes; labels that are ``forgotten`` are in no figure."""
        label_P = np.concatenate(self._label_ids)
        kept_P = ~np.isin(label_P, forgotten)
        for step, found in self._found.items():
            scores_P = np.concatenate([np.empty(0, np.float32), *found])
            self._ranks[step] = _StepRanks(label_P[kept_P], scores_P[kept_P], self._labels)
            found.clear()

    def count(self, truth_BN: NDArray[np.int8], scores: Scores) -> None:
        """Second pass: rank a batch's known cells, forgotten labels unknown, among positives."""
        truth_NB = np.ascontiguousarray(truth_BN.T)
        for step, ranks in self._ranks.items():
            ranks.count(truth_NB, np.ascontiguousarray(scores[step].T))

    def figures(self, step: Step) -> tuple[NDArray[np.float64], float]:
        """Average precision of each label [N] and of all cells together, NaN without a positive."""
        return self._ranks[step].figures()


class _StepRanks:
    """One step's positives with the number of known cells that score at least as much."""

    def __init__(
        self, label_P: NDArray[np.int32], scores_P: NDArray[np.float32], labels: int
    ) -> None:
        order = np.lexsort((scores_P, label_P))
        self._by_label_P = scores_P[order]
        self._sorted_P = np.sort(scores_P)
        counts_N = np.bincount(label_P, minlength=labels)
        self._ends_N = np.cumsum(counts_N)
        self._starts_N = self._ends_N - counts_N
        # Of a label with P positives P + 1 bins: cells above none of them, above one, ...
        self._bins = np.zeros(len(scores_P) + labels, np.int64)
        self._above_P = np.zeros(len(scores_P), np.int64)

    def count(self, truth_NB: NDArray[np.int8], scores_NB: NDArray[np.float32]) -> None:
        known_NB = truth_NB != UNKNOWN
        self._above_P += at_or_above(scores_NB[known_NB], self._sorted_P)
        whole_N = known_NB.all(axis=1)
        for n in np.flatnonzero(self._ends_N > self._starts_N).tolist():
            positives = self._positives(n)
            cells = scores_NB[n] if whole_N[n] else scores_NB[n, known_NB[n]]
            bins = np.searchsorted(positives, cells, side="right")
            start = int(self._starts_N[n]) + n
            self._bins[start : start + len(positives) + 1] += np.bincount(
                bins, minlength=len(positives) + 1
            )

    def figures(self) -> tuple[NDArray[np.float64], float]:
        average_N = np.full(len(self._ends_N), np.nan)
        for n in np.flatnonzero(self._ends_N > self._starts_N).tolist():
            positives = self._positives(n)
            start = int(self._starts_N[n]) + n
            bins = self._bins[start + 1 : start + len(positives) + 1]
            average_N[n] = mean_precision(positives, np.cumsum(bins[::-1])[::-1])
        if not len(self._sorted_P):
            return average_N, float("nan")
        return average_N, mean_precision(self._sorted_P, self._above_P)

    def _positives(self, n: int) -> NDArray[np.float32]:
        return self._by_label_P[self._starts_N[n] : self._ends_N[n]]
