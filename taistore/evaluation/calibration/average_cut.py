"""The probability from which on tags are best on average: the highest micro F1.

Shapes: K known cells of all labels.
"""

import numpy as np
from numpy.typing import NDArray

from taistore.labels import PRESENT


def best_average_cut(values_K: NDArray[np.floating], truth_K: NDArray[np.int8]) -> float:
    """The value from which on cells are tags with the highest micro F1; above all without one.

    It lies half way to the next lower value, so that rounding moves no cell across.

    >>> round(best_average_cut(np.array([0.9, 0.7, 0.5, 0.1]), np.array([1, 1, 0, 0])), 2)
    0.6
    """
    order = np.argsort(-values_K, kind="stable")
    sorted_K = values_K[order].astype(np.float64)
    right_K = np.cumsum(truth_K[order] == PRESENT)
    if not len(order) or not right_K[-1]:
        return np.inf
    f1_K = 2 * right_K / (np.arange(1, len(order) + 1) + right_K[-1])
    # Equal values are tags together.
    f1_K[:-1][sorted_K[:-1] == sorted_K[1:]] = 0
    best = int(f1_K.argmax())
    lower = sorted_K[min(best + 1, len(sorted_K) - 1)]
    return float((sorted_K[best] + lower) / 2)
