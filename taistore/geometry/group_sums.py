"""Sums of vectors by group, block by block, at little more than the cost of reading them.

B rows of a batch, D embedding dimension, G groups, P memberships of a batch (a row may be in
several groups, or in none).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

try:
    # Adds to its result in place; ``csc_array @`` makes a new [G, D] for every block, which would
    # cost twice as much and need blocks too large for any cache.
    from scipy.sparse._sparsetools import csc_matvecs
except ImportError:
    csc_matvecs = None

BLOCK_ROWS = 1024
"""Rows that are multiplied at once: 4 MiB of float32 at 1,024 dimensions, which stay in a cache."""

PARTIAL_ROWS = 65_536
"""Rows after which a partial sum joins the total: float32 added up one by one loses digits."""

PARTIAL_GROUPS = 65_536
"""Up to this many groups sums have two levels; of more, each is small and memory matters."""

_CONVERTED_ROWS = 64
_SIGN_AND_VALUE = np.array(0x8FFFFFFF, dtype=np.uint32).view(np.int32)[()]
_REBIASED = np.float32(2.0**112)
_BEYOND_FLOAT16 = 65536.0


class NonFiniteRowError(ValueError):
    """A vector holds NaN or infinity; ``row`` is its place in the batch."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} is not finite")
        self.row = row


class GroupSums:
    """Sum [G, D], count [G] and sum of squared norms [G] of every group, and the sum of all rows.

    Sums are float32: of :data:`PARTIAL_ROWS` rows one after another, then of those sums, so that
    their relative error stays below 1e-5 for any number of rows. Memory is ``8 * G * D`` bytes up
    to :data:`PARTIAL_GROUPS` groups, ``4 * G * D`` beyond.
    """

    def __init__(self, groups: int, dim: int, *, block_rows: int = BLOCK_ROWS) -> None:
        self.counts_G = np.zeros(groups, dtype=np.int64)
        self.squares_G = np.zeros(groups, dtype=np.float64)
        self.rows = 0
        self._sums_GD = np.zeros((groups, dim), dtype=np.float32)
        two_levels = groups <= PARTIAL_GROUPS
        self._partial_GD = np.zeros_like(self._sums_GD) if two_levels else self._sums_GD
        self._pending = 0
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
        _convert(vectors_BD, rows_BD)
        squares_B = np.einsum("bd,bd->b", rows_BD, rows_BD)
        # Infinity and NaN come out of the conversion as 65536 and more, which is more than any
        # float16; only rows that long need a closer look.
        for row in np.flatnonzero(~(squares_B < _BEYOND_FLOAT16**2)):
            if not np.isfinite(vectors_BD[row]).all():
                raise NonFiniteRowError(int(row))
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
        self._join()
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
        _add_product(self._partial_GD, rows_BD, counts_B, groups_P)
        self._pending += self._filled
        if self._pending >= PARTIAL_ROWS:
            self._join()
        self._members, self._filled = [], 0

    def _join(self) -> None:
        if self._partial_GD is not self._sums_GD and self._pending:
            self._sums_GD += self._partial_GD
            self._partial_GD[:] = 0
        self._pending = 0


def _convert(vectors_BD: NDArray[np.float16], rows_BD: NDArray[np.float32]) -> None:
    """Finite float16 to float32, exactly, in less than half of NumPy's own time.

    A float32 has eight bits of exponent where a float16 has five: the value's bits move by 13,
    and a factor of 2^112 mends the difference of the exponents' offsets. torch is as fast, but
    takes half a gigabyte to import.
    """
    halves_BD = vectors_BD.view(np.int16)
    bits = np.empty((_CONVERTED_ROWS, vectors_BD.shape[1]), dtype=np.int32)
    for low in range(0, len(vectors_BD), _CONVERTED_ROWS):
        part = halves_BD[low : low + _CONVERTED_ROWS]
        moved = bits[: len(part)]
        np.copyto(moved, part)  # Extends the sign, so that bit 31 is right after the shift.
        np.left_shift(moved, 13, out=moved)
        np.bitwise_and(moved, _SIGN_AND_VALUE, out=moved)
        np.multiply(moved.view(np.float32), _REBIASED, out=rows_BD[low : low + len(part)])


def _add_product(
    sums_GD: NDArray[np.float32],
    rows_BD: NDArray[np.float32],
    counts_B: NDArray[np.int64],
    groups_P: NDArray[np.int64],
) -> None:
    """Add memberships, as a sparse [G, B] matrix, times the rows."""
    starts = np.concatenate([[0], np.cumsum(counts_B)])
    ones_P = np.ones(len(groups_P), dtype=np.float32)
    groups, dim = sums_GD.shape
    if csc_matvecs is None:
        sums_GD += csc_array((ones_P, groups_P, starts), shape=(groups, len(rows_BD))) @ rows_BD
        return
    flat_rows, flat_sums = rows_BD.reshape(-1), sums_GD.reshape(-1)
    csc_matvecs(groups, len(rows_BD), dim, starts, groups_P, ones_P, flat_rows, flat_sums)
