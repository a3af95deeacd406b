"""Ranking metrics of multi-label tagging, exact, with unknown labels and in bounded memory.

Shapes: I images, N labels, K chosen labels per image, P positive cells. ``scores_IN`` are finite
floats that rank (logits, cosines); ``truth_IN`` int8 holds 1 present, 0 absent, -1 unknown, the
coding of arXiv:2312.04160. Unknown cells count neither as right nor as wrong. All values are
fractions; reports turn them into percent.

Ties: cells with equal scores enter the ranking together, and all of them are charged the precision
that holds once the whole group is in (scikit-learn's rule). A value therefore never depends on the
order of the images, and a constant score earns a label's share of positives, not luck.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.labels import PRESENT, UNKNOWN

BLOCK_CELLS = 2**22
"""Cells handled at once: four million float32 need about 60 MB of temporary arrays."""

Scores = NDArray[Any]
Truth = NDArray[np.int8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """Figures of one score matrix, as fractions; NaN where nothing is positive.

    ``label_average_precision`` [N] is NaN for the ``labels_without_positives``, which no mean
    includes.
    """

    mean_average_precision: float
    micro_average_precision: float
    class_f1: float
    overall_f1: float
    label_average_precision: NDArray[np.float64]
    labels_without_positives: int


def metrics(scores_IN: Scores, truth_IN: Truth, *, top_k: int = 3) -> Metrics:
    """All figures at once: mAP, micro AP, CF1 and OF1 at ``top_k`` labels per image."""
    average_precision_N = average_precision(scores_IN, truth_IN)
    class_f1, overall_f1 = f1_at_top_k(scores_IN, truth_IN, top_k=top_k)
    return Metrics(
        mean_average_precision=mean_average_precision(average_precision_N),
        micro_average_precision=micro_average_precision(scores_IN, truth_IN),
        class_f1=class_f1,
        overall_f1=overall_f1,
        label_average_precision=average_precision_N,
        labels_without_positives=int(np.isnan(average_precision_N).sum()),
    )


def mean_average_precision(average_precision_N: NDArray[np.float64]) -> float:
    """Macro mean over the labels that have a positive; NaN when none has."""
    known_N = ~np.isnan(average_precision_N)
    return float(average_precision_N[known_N].mean()) if known_N.any() else float("nan")


def average_precision(scores_IN: Scores, truth_IN: Truth) -> NDArray[np.float64]:
    """Non-interpolated average precision of each label [N]; NaN for labels without a positive.

    The mean, over a label's positives, of the precision at the rank of that positive.
    """
    _check(scores_IN, truth_IN)
    average_N = np.full(scores_IN.shape[1], np.nan)
    step = max(1, BLOCK_CELLS // max(len(scores_IN), 1))
    for start in range(0, len(average_N), step):
        # A copy by label, so that each label's scores lie together whatever the layout was.
        scores_NI = np.ascontiguousarray(scores_IN[:, start : start + step].T)
        truth_NI = np.ascontiguousarray(truth_IN[:, start : start + step].T)
        for n, (scores_I, truth_I) in enumerate(zip(scores_NI, truth_NI, strict=True), start):
            average_N[n] = label_precision(scores_I, truth_I)
    return average_N


def label_precision(scores_I: Scores, truth_I: Truth) -> float:
    """Average precision of one label [I]; unknown cells may be left out; NaN without a positive."""
    # Sorting values is several times faster than sorting indices, and only ranks are needed.
    positives_P = np.sort(scores_I[truth_I == PRESENT])
    if not len(positives_P):
        return float("nan")
    known = np.sort(scores_I[truth_I != UNKNOWN])
    at_or_above_P = len(known) - np.searchsorted(known, positives_P, side="left")
    return mean_precision(positives_P, at_or_above_P)


def mean_precision(positives_P: Scores, at_or_above_P: NDArray[np.int64]) -> float:
    """From sorted positive scores and the number of known cells that score at least as much."""
    right_P = len(positives_P) - np.searchsorted(positives_P, positives_P, side="left")
    return float(np.mean(right_P / at_or_above_P))


def micro_average_precision(scores_IN: Scores, truth_IN: Truth) -> float:
    """Average precision of all known cells ranked together; NaN without a positive."""
    _check(scores_IN, truth_IN)
    if scores_IN.flags.f_contiguous:
        # The order of the cells does not matter, the order of reading them does.
        scores_IN, truth_IN = scores_IN.T, truth_IN.T
    return micro_precision(lambda: _row_blocks(scores_IN, truth_IN))


def micro_precision(parts: Callable[[], Iterable[tuple[Scores, Truth]]]) -> float:
    """Average precision of all known cells of all ``parts``, which are gone through twice.

    Part by part, the cells that score at least as much as each of the P positives are counted:
    memory grows with P and not with the cells.
    """
    found = [s[t == PRESENT] for s, t in parts()]
    positives_P = np.sort(np.concatenate(found or [np.empty(0, np.float32)]))
    at_or_above_P = np.zeros(len(positives_P), dtype=np.int64)
    for scores, truth in parts() if len(positives_P) else ():
        at_or_above_P += at_or_above(scores[truth != UNKNOWN], positives_P)
    return mean_precision(positives_P, at_or_above_P) if len(positives_P) else float("nan")


def at_or_above(scores_K: Scores, positives_P: Scores) -> NDArray[np.int64]:
    """How many of these scores are at least as high as each positive's, which are sorted [P]."""
    ranked_K = np.sort(scores_K)
    return len(ranked_K) - np.searchsorted(ranked_K, positives_P, side="left").astype(np.int64)


def f1_at_top_k(scores_IN: Scores, truth_IN: Truth, *, top_k: int = 3) -> tuple[float, float]:
    """(CF1, OF1) when each image is given its ``top_k`` best labels; ties go to lower label ids.

    CF1 joins precision and recall averaged over labels (a label never chosen has precision 0),
    OF1 joins those of all cells together. Chosen cells of unknown truth are not counted; labels
    without a positive are left out of CF1.
    """
    _check(scores_IN, truth_IN)
    tally = TopTally(scores_IN.shape[1], top_k=top_k)
    for scores, truth in _row_blocks(scores_IN, truth_IN):
        tally.add(scores, truth)
    return tally.f1()


class TopTally:
    """Counts, over images as they come, what :func:`f1_at_top_k` is made of."""

    def __init__(self, labels: int, *, top_k: int = 3) -> None:
        self._top_k = min(top_k, labels)
        self._right_N = np.zeros(labels)
        self._chosen_N = np.zeros(labels)
        self._positives_N = np.zeros(labels)

    def add(self, scores_BN: Scores, truth_BN: Truth) -> None:
        """Count more images."""
        labels = len(self._right_N)
        best_BK = top_labels(scores_BN, self._top_k)
        truth_BK = np.take_along_axis(truth_BN, best_BK, axis=1)
        self._right_N += np.bincount(best_BK[truth_BK == PRESENT], minlength=labels)
        self._chosen_N += np.bincount(best_BK[truth_BK != UNKNOWN], minlength=labels)
        self._positives_N += (truth_BN == PRESENT).sum(axis=0)

    def forget(self, label_ids: NDArray[np.int64]) -> None:
        """As if these labels had been unknown of every image."""
        for counts_N in (self._right_N, self._chosen_N, self._positives_N):
            counts_N[label_ids] = 0

    def f1(self) -> tuple[float, float]:
        """(CF1, OF1) of the images so far; NaN where no label has a positive."""
        has = self._positives_N > 0
        if not has.any():
            return float("nan"), float("nan")
        precision = float(np.mean(self._right_N[has] / np.maximum(self._chosen_N[has], 1)))
        recall = float(np.mean(self._right_N[has] / self._positives_N[has]))
        right = self._right_N.sum()
        return (
            _f1(precision, recall),
            _f1(right / max(self._chosen_N.sum(), 1), right / self._positives_N.sum()),
        )


def top_labels(scores_BN: Scores, top_k: int) -> NDArray[np.intp]:
    """Label ids [B, K] of the best labels of each image, best first; ties to lower label ids."""
    left_BN = np.array(scores_BN)
    best_BK = np.empty((len(left_BN), top_k), dtype=np.intp)
    for k in range(top_k):
        # For a few labels, looking for the highest one again and again is faster than sorting.
        best_BK[:, k] = left_BN.argmax(axis=1)
        np.put_along_axis(left_BN, best_BK[:, k : k + 1], -np.inf, axis=1)
    return best_BK


def _f1(precision: float, recall: float) -> float:
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _row_blocks(scores_IN: Scores, truth_IN: Truth) -> Iterator[tuple[Scores, Truth]]:
    step = max(1, BLOCK_CELLS // max(scores_IN.shape[1], 1))
    for start in range(0, len(scores_IN), step):
        block = slice(start, start + step)
        yield np.asarray(scores_IN[block]), np.asarray(truth_IN[block])


def _check(scores_IN: Scores, truth_IN: Truth) -> None:
    if scores_IN.shape != truth_IN.shape or scores_IN.ndim != 2:
        raise ValueError(f"scores {scores_IN.shape} and truth {truth_IN.shape} must be one [I, N]")
