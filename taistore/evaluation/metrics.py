"""Ranking metrics of multi-label tagging, exact, with unknown labels and in bounded memory.

Shapes: I images, N labels, K chosen labels per image, P positive cells. ``scores_IN`` are ranking
scores of any scale (logits, cosines); ``truth_IN`` int8 holds 1 present, 0 absent, -1 unknown, the
coding of arXiv:2312.04160. Unknown cells count neither as right nor as wrong. All values are
fractions; reports turn them into percent.

Ties: cells with equal scores enter the ranking together, and all of them are charged the precision
that holds once the whole group is in (scikit-learn's rule). A value therefore never depends on the
order of the images, and a constant score earns a label's share of positives, not luck.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_CELLS = 2**20
"""Cells handled at once: a million of them need about 60 MB of temporary arrays."""

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
    images, labels = scores_IN.shape
    average_N = np.full(labels, np.nan)
    step = max(1, BLOCK_CELLS // max(images, 1))
    for start in range(0, labels, step):
        block = slice(start, start + step)
        average_N[block] = _average_precision_block(
            np.ascontiguousarray(scores_IN[:, block].T), np.ascontiguousarray(truth_IN[:, block].T)
        )
    return average_N


def _average_precision_block(scores_NI: Scores, truth_NI: Truth) -> NDArray[np.float64]:
    # Unknown cells sort last, so that they never stand before a known one.
    known_NI = truth_NI >= 0
    keys_NI = np.where(known_NI, scores_NI, -np.inf)
    order_NI = np.argsort(-keys_NI, axis=1, kind="stable")
    ranked_NI = np.take_along_axis(keys_NI, order_NI, axis=1)
    positive_NI = np.take_along_axis(truth_NI, order_NI, axis=1) == 1
    known_ranked_NI = np.take_along_axis(known_NI, order_NI, axis=1)
    right_NI = np.cumsum(positive_NI, axis=1, dtype=np.int32)
    seen_NI = np.cumsum(known_ranked_NI, axis=1, dtype=np.int32)
    last_NI = _last_of_tie(ranked_NI)
    with np.errstate(invalid="ignore"):
        precision_NI = np.take_along_axis(right_NI, last_NI, axis=1) / np.take_along_axis(
            seen_NI, last_NI, axis=1
        )
    total_N = positive_NI.sum(axis=1)
    sums_N = np.where(positive_NI, precision_NI, 0.0).sum(axis=1)
    average_N: NDArray[np.float64] = np.divide(
        sums_N, total_N, out=np.full(len(total_N), np.nan), where=total_N > 0
    )
    return average_N


def _last_of_tie(ranked_NI: Scores) -> NDArray[np.intp]:
    """Position of the last cell that has the same score as each cell of sorted rows."""
    images = ranked_NI.shape[1]
    ends_NI = np.ones(ranked_NI.shape, dtype=bool)
    ends_NI[:, :-1] = ranked_NI[:, :-1] != ranked_NI[:, 1:]
    places_NI = np.where(ends_NI, np.arange(images), images)
    last_NI: NDArray[np.intp] = np.minimum.accumulate(places_NI[:, ::-1], axis=1)[:, ::-1]
    return last_NI


def micro_average_precision(scores_IN: Scores, truth_IN: Truth) -> float:
    """Average precision of all known cells ranked together; NaN without a positive.

    Only the P positive scores are sorted; the other cells are counted between them, block by
    block, so that memory grows with P and not with I x N.
    """
    _check(scores_IN, truth_IN)
    positives_P = np.sort(
        np.concatenate(
            [np.empty(0, scores_IN.dtype)]
            + [np.asarray(s)[np.asarray(t) == 1] for s, t in _row_blocks(scores_IN, truth_IN)]
        )
    )
    count = len(positives_P)
    if not count:
        return float("nan")
    # between[p]: known cells whose score lies at or above p positives but below the next one.
    between = np.zeros(count + 1, dtype=np.int64)
    for scores, truth in _row_blocks(scores_IN, truth_IN):
        known = np.asarray(scores)[np.asarray(truth) >= 0]
        places = np.searchsorted(positives_P, known, side="right")
        between += np.bincount(places, minlength=count + 1)
    at_or_above_P = np.cumsum(between[::-1])[::-1][1:]
    first_of_tie_P = np.searchsorted(positives_P, positives_P, side="left")
    right_P = count - first_of_tie_P
    return float(np.mean(right_P / at_or_above_P[first_of_tie_P]))


def f1_at_top_k(scores_IN: Scores, truth_IN: Truth, *, top_k: int = 3) -> tuple[float, float]:
    """(CF1, OF1) when each image is given its ``top_k`` best labels; ties go to lower label ids.

    CF1 joins precision and recall averaged over labels (a label never chosen has precision 0),
    OF1 joins those of all cells together. Chosen cells of unknown truth are not counted; labels
    without a positive are left out of CF1.
    """
    _check(scores_IN, truth_IN)
    labels = scores_IN.shape[1]
    right_N = np.zeros(labels)
    chosen_N = np.zeros(labels)
    positives_N = np.zeros(labels)
    for scores, truth in _row_blocks(scores_IN, truth_IN):
        best_BK = top_labels(np.asarray(scores), min(top_k, labels))
        truth_BK = np.take_along_axis(np.asarray(truth), best_BK, axis=1)
        right_N += np.bincount(best_BK[truth_BK == 1], minlength=labels)
        chosen_N += np.bincount(best_BK[truth_BK >= 0], minlength=labels)
        positives_N += (np.asarray(truth) == 1).sum(axis=0)
    has = positives_N > 0
    if not has.any():
        return float("nan"), float("nan")
    precision = float(np.mean(right_N[has] / np.maximum(chosen_N[has], 1)))
    recall = float(np.mean(right_N[has] / positives_N[has]))
    return (
        _f1(precision, recall),
        _f1(right_N.sum() / max(chosen_N.sum(), 1), right_N.sum() / positives_N.sum()),
    )


def top_labels(scores_BN: Scores, top_k: int) -> NDArray[np.intp]:
    """Label ids [B, K] of the best labels of each image, best first; ties to lower label ids."""
    best_BK: NDArray[np.intp] = np.argsort(-scores_BN, axis=1, kind="stable")[:, :top_k]
    return best_BK


def _f1(precision: float, recall: float) -> float:
    return float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def _row_blocks(scores_IN: Scores, truth_IN: Truth) -> Iterator[tuple[Scores, Truth]]:
    step = max(1, BLOCK_CELLS // max(scores_IN.shape[1], 1))
    for start in range(0, len(scores_IN), step):
        yield scores_IN[start : start + step], truth_IN[start : start + step]


def _check(scores_IN: Scores, truth_IN: Truth) -> None:
    if scores_IN.shape != truth_IN.shape or scores_IN.ndim != 2:
        raise ValueError(f"scores {scores_IN.shape} and truth {truth_IN.shape} must be one [I, N]")
