"""The lowest threshold of a label whose precision is as high as promised, by few images.

Cuts are tested from the highest score down at numbers of tagged images that are fixed beforehand:
those at which 0, 1, 2, ... wrong images are just few enough (:func:`cut_sizes`). A test holds where
the lower bound of Clopper and Pearson reaches the precision; the first that does not hold ends the
row, and the last one that held is the cut. That is fixed-sequence testing, as in Learn then Test
(arXiv:2110.01052, 5.2): with each test at the full level no more than 1 - ``confidence`` of the
labels get a cut whose true precision is lower, though many cuts are looked at. For given score of
the next image those above it are a fair draw of all images above it, so that the bound is exact;
it takes for granted that among a label's images a higher score is no worse evidence.

The promise is made label by label, not of all labels at once. Shapes: K known cells of a label.
"""

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv

from taistore.labels import PRESENT
from taistore.scoring.cuts.calibration_file import Cut

_GROWTH = 1.1
"""From ten wrong images on the next cut has a tenth more of them."""


def lower_bound(right: int, tagged: int, *, confidence: float) -> float:
    """Clopper and Pearson's one-sided lower bound of a share.

    >>> round(lower_bound(22, 22, confidence=0.9), 3), lower_bound(0, 5, confidence=0.9)
    (0.901, 0.0)
    """
    if right == 0:
        return 0.0
    return float(betaincinv(right, tagged - right + 1, 1 - confidence))


@functools.lru_cache(maxsize=64)
def cut_sizes(
    precision: float, confidence: float, *, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of tagged images, up to ``most``, and how many of each may be wrong.

    >>> sizes, wrong = cut_sizes(0.9, 0.9, most=80)
    >>> sizes.tolist(), wrong.tolist()
    ([22, 38, 52, 65, 78], [0, 1, 2, 3, 4])
    """
    sizes: list[int] = []
    allowed: list[int] = []
    wrong = 0
    while True:
        size = _smallest(wrong, precision, confidence)
        if size > most:
            return np.array(sizes, np.int64), np.array(allowed, np.int64)
        sizes.append(size)
        allowed.append(wrong)
        wrong = max(wrong + 1, int(wrong * _GROWTH))


def _smallest(wrong: int, precision: float, confidence: float) -> int:
    """The fewest tagged images of which so many may be wrong: bisection of a binomial tail."""
    low, high = wrong, wrong + 1
    while bdtr(wrong, high, 1 - precision) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if bdtr(wrong, middle, 1 - precision) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def precision_cut(
    scores_K: NDArray[np.float32],
    truth_K: NDArray[np.int8],
    *,
    precision: float,
    confidence: float,
) -> Cut | None:
    """The lowest cut of a label that the known cells allow to promise; None without any."""
    order = np.argsort(-scores_K, kind="stable")
    sorted_K = scores_K[order]
    right_K = np.cumsum(truth_K[order] == PRESENT)
    found = None
    # Up to a power of two, so that labels of about as many cells share them.
    sizes, _ = cut_sizes(precision, confidence, most=1 << len(scores_K).bit_length())
    for size in sizes[sizes <= len(scores_K)].tolist():
        threshold = sorted_K[size - 1]
        # Whoever scores the same is tagged as well.
        tagged = int(np.searchsorted(-sorted_K, -threshold, side="right"))
        right = int(right_K[tagged - 1])
        lower = lower_bound(right, tagged, confidence=confidence)
        if lower < precision:
            break
        found = Cut(
            precision=precision,
            threshold=float(threshold),
            lower=lower,
            tagged=tagged,
            right=right,
        )
    return found


def more_images(
    scores_K: NDArray[np.float32],
    truth_K: NDArray[np.int8],
    *,
    precision: float,
    confidence: float,
) -> int | None:
    """How many more labelled images above the cut it takes at least; None: more do not help.

    Reckoned from the best that was seen: if above a cut so far ``right`` of ``tagged`` images are
    right, more than the precision, and they stay so, the bound holds with the first of
    :func:`cut_sizes` that allows that share of wrong ones. The cut that lacks the fewest counts.
    Without an image that shows the label none was seen to be wrong either.

    >>> more_images(np.arange(3.0), np.array([0, 1, 1]), precision=0.9, confidence=0.9)
    20
    """
    sizes_C, wrong_C = cut_sizes(precision, confidence, most=_ENOUGH)
    if not (truth_K == PRESENT).any():
        return int(sizes_C[0])
    order = np.argsort(-scores_K, kind="stable")
    tagged_K = np.arange(1, len(order) + 1)
    share_K = np.cumsum(truth_K[order] != PRESENT) / tagged_K
    # The most wrong images a cut may have, as a share, grows with its size.
    place_K = np.searchsorted(np.maximum.accumulate(wrong_C / sizes_C), share_K)
    there_K = place_K < len(sizes_C)
    if not there_K.any():
        return None
    lacking = sizes_C[place_K[there_K]] - tagged_K[there_K]
    return max(1, int(lacking.min()))


_ENOUGH = 10_000
"""A cut of more images is not what a label lacks."""
