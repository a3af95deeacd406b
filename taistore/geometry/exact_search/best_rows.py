"""The best rows of each query among blocks of vectors: coarse scores choose, float32 decides.

B vectors of a block, D embedding dimension, K neighbours, P pairs of a query and a vector, Q
queries.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.geometry.exact_search.coarse_products import Coarse, Format, margin, product

Float32 = NDArray[np.float32]

_PAIRS_AT_ONCE = 4096
_BF16_HALF_STEP = 2.0**-9


class BestRows:
    """The ``k`` best of the blocks seen by unit queries [Q, D], best first; on the CPU.

    Exact: a vector is left out only where its coarse score, with the bound on its error (see
    :func:`margin`), lies below the score of the query's ``k``-th best so far; all others are
    scored in float32. Of equal scores any may stay.
    """

    def __init__(self, queries_QD: torch.Tensor, k: int, form: Format) -> None:
        self._queries_QD = queries_QD.numpy()
        self._coarse = Coarse(queries_QD, form)
        self._k = k
        self.scores_QK = np.empty((len(queries_QD), 0), dtype=np.float32)
        self.rows_QK = np.empty((len(queries_QD), 0), dtype=np.int64)

    def see(self, unit_BD: torch.Tensor, coarse: Coarse, first: int) -> None:
        """Look at vectors [B, D] of length 1, or 0, whose rows begin with ``first``."""
        if not len(unit_BD) or not self._k:
            return
        error = margin(self._coarse, coarse)
        scores_QB = product(self._coarse, coarse)
        least_Q = self._least(scores_QB, error)
        place_P = np.flatnonzero(_reach(scores_QB, least_Q - error))
        query_P, row_P = np.divmod(place_P, len(unit_BD))
        if scores_QB.dtype == torch.float32:
            score_P = scores_QB.numpy().reshape(-1)[place_P]
        else:
            score_P = self._exact(unit_BD.numpy(), query_P, row_P)
        better = score_P > least_Q.astype(np.float32)[query_P] - np.float32(2.0**-22)
        self._merge(query_P[better], row_P[better] + first, score_P[better])

    def _least(self, scores_QB: torch.Tensor, error: float) -> NDArray[np.float64]:
        """A score [Q] that the ``k``-th best of what is seen, this block included, reaches."""
        if self.scores_QK.shape[1] == self._k:
            return self.scores_QK[:, -1].astype(np.float64)
        if scores_QB.shape[1] < self._k:
            return np.full(len(scores_QB), -np.inf)
        best_QK = scores_QB.topk(self._k, dim=1).values
        kth_Q = best_QK[:, -1].double().numpy()
        if scores_QB.dtype == torch.bfloat16:
            kth_Q -= 2 * _BF16_HALF_STEP * np.abs(kth_Q)
        found_Q: NDArray[np.float64] = kth_Q - error
        return found_Q

    def _exact(
        self, unit_BD: Float32, query_P: NDArray[np.int64], row_P: NDArray[np.int64]
    ) -> Float32:
        score_P = np.empty(len(query_P), dtype=np.float32)
        for low in range(0, len(query_P), _PAIRS_AT_ONCE):
            part = slice(low, low + _PAIRS_AT_ONCE)
            score_P[part] = np.vecdot(self._queries_QD[query_P[part]], unit_BD[row_P[part]])
        return score_P

    def _merge(
        self, query_P: NDArray[np.int64], row_P: NDArray[np.int64], score_P: Float32
    ) -> None:
        """Let pairs, ordered by query, in among the best."""
        there, first, counts = np.unique(query_P, return_index=True, return_counts=True)
        held = self.scores_QK.shape[1]
        wide = min(self._k, held + int(counts.max(initial=0)))
        if wide > held:
            # Only while fewer than k rows were seen, of which every query keeps all.
            more = ((0, 0), (0, wide - held))
            self.scores_QK = np.pad(self.scores_QK, more, constant_values=-np.inf)
            self.rows_QK = np.pad(self.rows_QK, more, constant_values=-1)
        if not len(there):
            return
        place_P = np.arange(len(query_P)) - np.repeat(first, counts)
        at_P = np.repeat(np.arange(len(there)), counts)
        shape = (len(there), wide + int(counts.max()))
        scores = np.full(shape, -np.inf, dtype=np.float32)
        rows = np.full(shape, -1, dtype=np.int64)
        scores[:, :wide], rows[:, :wide] = self.scores_QK[there], self.rows_QK[there]
        scores[at_P, wide + place_P], rows[at_P, wide + place_P] = score_P, row_P
        best, order = torch.from_numpy(scores).topk(wide, dim=1)
        self.scores_QK[there] = best.numpy()
        self.rows_QK[there] = np.take_along_axis(rows, order.numpy(), axis=1)


def _reach(scores_QB: torch.Tensor, least_Q: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which coarse scores [Q, B] may stand for a score of ``least_Q`` [Q] or more."""
    if scores_QB.dtype == torch.float32:
        found: NDArray[np.bool_] = scores_QB.numpy() >= least_Q.astype(np.float32)[:, None]
        return found
    # bf16 rounds to the nearest and so keeps an order: what reaches a bf16 number before it is
    # rounded does so after. Positive ones are ordered like their bits, above all negative ones,
    # which NumPy compares five times faster; a bound of 0 or less lets all of the query pass.
    bits_Q = least_Q.astype(np.float32).view(np.int32) >> 16
    bits_Q[least_Q <= 0] = np.iinfo(np.int16).min
    passed: NDArray[np.bool_] = (
        scores_QB.view(torch.int16).numpy() >= bits_Q.astype(np.int16)[:, None]
    )
    return passed
