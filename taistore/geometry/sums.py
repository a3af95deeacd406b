"""Sums of vectors by group, block by block, at little more than the cost of reading them.

B rows of a batch, D embedding dimension, G groups, P memberships of a batch (a row may be in
several groups, or in none).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array

BLOCK_ROWS = 16_384
"""Rows that are multiplied at once: 64 MiB of float32 at 1,024 dimensions."""


class NonFiniteRowError(ValueError):
    """A vector holds NaN or infinity; ``row`` is its place in the batch."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} is not finite")
        self.row = row


class GroupSums:
    """Sum [G, D], count [G] and sum of squared norms [G] of every group, and the sum of all rows.

    Sums are float32: within a block one after another, then block to block, so that their
    relative error stays near 1e-6 for any number of rows. Memory is ``4 * G * D`` bytes twice
    over while there are fewer groups than rows in a block, and once beyond that.
    """

    def __init__(self, groups: int, dim: int, *, block_rows: int = BLOCK_ROWS) -> None:
        self.counts_G = np.zeros(groups, dtype=np.int64)
        self.squares_G = np.zeros(groups, dtype=np.float64)
        self.rows = 0
        self._sums_GD = np.zeros((groups, dim), dtype=np.float32)
        self._total_D = np.zeros(dim, dtype=np.float64)
        self._block_BD = np.empty((block_rows, dim), dtype=np.float32)
        self._members: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._filled = 0

    def add(
        self,
        vectors_BD: NDArray[np.float16],
        counts_B: NDArray[np.int64],
        groups_P: NDArray[Any],
    ) -> None:
        """Add rows: how many groups each is in, and those groups, one row after another.

        Raises :class:`NonFiniteRowError` before anything of the batch is added.
        """
        step = len(self._block_BD)
        if len(vectors_BD) > step:
            for low in range(0, len(vectors_BD), step):
                ends = np.cumsum(counts_B[: low + step])
                first = int(ends[low - 1]) if low else 0
                part = slice(low, low + step)
                self.add(vectors_BD[part], counts_B[part], groups_P[first : int(ends[-1])])
            return
        if self._filled + len(vectors_BD) > step:
            self._multiply()
        rows_BD = self._block_BD[self._filled : self._filled + len(vectors_BD)]
        # NumPy's own conversion from float16 is four times slower and would cost more than the
        # sums; torch wants to own what it reads, hence the copy of a column that is read-only.
        source = vectors_BD if vectors_BD.flags.writeable else vectors_BD.copy()
        torch.from_numpy(rows_BD).copy_(torch.from_numpy(source))
        squares_B = np.einsum("bd,bd->b", rows_BD, rows_BD)
        if not np.isfinite(squares_B).all():
            raise NonFiniteRowError(int(np.flatnonzero(~np.isfinite(squares_B))[0]))
        self.squares_G += np.bincount(
            groups_P,
            weights=np.repeat(squares_B.astype(np.float64), counts_B),
            minlength=len(self.counts_G),
        )
        self.counts_G += np.bincount(groups_P, minlength=len(self.counts_G))
        self._members.append((counts_B, groups_P.astype(np.int64)))
        self._filled += len(vectors_BD)
        self.rows += len(vectors_BD)

    def sums(self) -> NDArray[np.float32]:
        """The sum [G, D] of each group so far; the caller may overwrite it when it is done."""
        self._multiply()
        return self._sums_GD

    def total(self) -> NDArray[np.float64]:
        """The sum [D] of all rows so far, each once."""
        self._multiply()
        return self._total_D

    def _multiply(self) -> None:
        if not self._filled:
            return
        rows_BD = self._block_BD[: self._filled]
        counts_B = np.concatenate([counts for counts, _ in self._members])
        groups_P = np.concatenate([groups for _, groups in self._members])
        self._total_D += np.ones(len(rows_BD), dtype=np.float32) @ rows_BD
        if len(self._sums_GD) <= len(self._block_BD):
            self._sums_GD += _product(rows_BD, counts_B, groups_P, len(self._sums_GD))
        else:
            # A dense product would touch every group for the few that occur in this block.
            there_U, groups_P = np.unique(groups_P, return_inverse=True)
            self._sums_GD[there_U] += _product(rows_BD, counts_B, groups_P, len(there_U))
        self._members, self._filled = [], 0


def _product(
    rows_BD: NDArray[np.float32],
    counts_B: NDArray[np.int64],
    groups_P: NDArray[np.int64],
    groups: int,
) -> NDArray[np.float32]:
    """Memberships as a sparse [G, B] matrix times the rows."""
    starts = np.concatenate([[0], np.cumsum(counts_B)])
    ones_P = np.ones(len(groups_P), dtype=np.float32)
    members_GB = csc_array((ones_P, groups_P, starts), shape=(groups, len(rows_BD)))
    sums_GD: NDArray[np.float32] = members_GB @ rows_BD
    return sums_GD
