"""Probabilities from scores: Platt's sigmoid, a label's own, drawn towards that of all labels.

First one sigmoid of all labels' known cells together; its logit u = slope s + offset. Then each
label's logit is a u + b, fitted with the prior that a is near 1 and b near 0, so that a label of
few positives has the sigmoid of all and one of many its own. The prior also
keeps a label without a positive from being certain. Shapes: K cells.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from taistore.labels import PRESENT

SLOPE_DEVIATION = 0.5
"""Of a around 1 among labels, beforehand."""

OFFSET_DEVIATION = 1.5
"""Of b around 0."""

_STEPS = 50
_LEAST_SLOPE = 0.05
"""A higher score is never worse evidence."""


class Sigmoid(NamedTuple):
    """Score s stands for the probability 1 / (1 + exp(-(slope s + offset)))."""

    slope: float
    offset: float

    def logits(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        """Of scores of any shape."""
        return self.slope * scores.astype(np.float64) + self.offset


def pooled_sigmoid(scores_K: NDArray[np.float32], truth_K: NDArray[np.int8]) -> Sigmoid:
    """The sigmoid of cells of all labels; of scores that are all equal a flat one."""
    mean, spread = float(scores_K.mean()), float(scores_K.std()) or 1.0
    z_K = (scores_K.astype(np.float64) - mean) / spread
    positives = int((truth_K == PRESENT).sum())
    start = np.array([1.0, np.log((positives + 1) / (len(truth_K) - positives + 1))])
    a, b = _fitted(z_K, truth_K, start, np.array([100.0, 100.0]))
    return Sigmoid(a / spread, b - a * mean / spread)


def label_sigmoid(
    pooled: Sigmoid, scores_K: NDArray[np.float32], truth_K: NDArray[np.int8]
) -> Sigmoid:
    """The sigmoid of one label's cells, none of which is unknown."""
    if not len(scores_K):
        return pooled
    deviations = np.array([SLOPE_DEVIATION, OFFSET_DEVIATION])
    a, b = _fitted(pooled.logits(scores_K), truth_K, np.array([1.0, 0.0]), deviations)
    return Sigmoid(a * pooled.slope, a * pooled.offset + b)


def _fitted(
    u_K: NDArray[np.float64],
    truth_K: NDArray[np.int8],
    centre: NDArray[np.float64],
    deviations: NDArray[np.float64],
) -> tuple[float, float]:
    """Slope and offset of highest posterior, by damped Newton steps from the prior's centre."""
    y_K = (truth_K == PRESENT).astype(np.float64)
    precision = 1 / deviations**2
    found = centre.copy()
    value = _loss(found, u_K, y_K, centre, precision)
    for _ in range(_STEPS):
        p_K = _sigmoid(found[0] * u_K + found[1])
        miss_K, weight_K = p_K - y_K, np.maximum(p_K * (1 - p_K), 1e-9)
        gradient = np.array([miss_K @ u_K, miss_K.sum()]) + precision * (found - centre)
        across = weight_K @ u_K
        curvature = np.array([[weight_K @ u_K**2, across], [across, weight_K.sum()]])
        step = np.linalg.solve(curvature + np.diag(precision), gradient)
        size = 1.0
        while size > 1e-4:
            tried = found - size * step
            tried[0] = max(tried[0], _LEAST_SLOPE)
            new = _loss(tried, u_K, y_K, centre, precision)
            if new <= value:
                break
            size /= 2
        else:
            break
        moved = value - new
        found, value = tried, new
        if moved < 1e-7:
            break
    return float(found[0]), float(found[1])


def _loss(
    found: NDArray[np.float64],
    u_K: NDArray[np.float64],
    y_K: NDArray[np.float64],
    centre: NDArray[np.float64],
    precision: NDArray[np.float64],
) -> float:
    logit_K = found[0] * u_K + found[1]
    likelihood = np.logaddexp(0, logit_K).sum() - y_K @ logit_K
    return float(likelihood + 0.5 * (precision * (found - centre) ** 2).sum())


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits))
