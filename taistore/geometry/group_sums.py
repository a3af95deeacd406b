"""Sums of vectors by group, a block of rows at a time, at little more than the cost of reading.

B rows of a batch, R rows of a block, D embedding dimension, S slices of W dimensions, G groups, P
memberships of a batch or block (a row may be in several groups, or in none).
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from taistore.store.stream import finite

BLOCK_ROWS = 16_384
"""Rows that are added at once: a sum is then read and written once for all of them."""

SLICE_DIMS = 64
"""Dimensions that are added at once: 4 MiB of a block's rows, which stay in a cache."""

MANY_GROUPS = 65_536
"""Of more groups no cache holds a slice's sums, and memory matters more: one slice is all."""

BLOCK_MEMBERS = 2**20
"""Memberships after which a block is added up before it is full; each takes some 30 bytes."""

Float32 = NDArray[np.float32]

_CHECKED_ROWS = 1024
_CONVERTED = 2**16
_SIGN_AND_VALUE = np.array(0x8FFFFFFF, dtype=np.uint32).view(np.int32)[()]
_REBIASED = np.float32(2.0**112)


class NonFiniteRowError(ValueError):
    """A vector holds NaN or infinity; ``row`` is its place in the batch."""

    def __init__(self, row: int) -> None:
        super().__init__(f"row {row} is not finite")
        self.row = row


class GroupSums:
    """Sum [G, D] and count [G] of every group, and the sum of all rows; squared norms if wanted.

    Rows are kept as float16, cut into slices of :data:`SLICE_DIMS` dimensions, until a block of
    them is full. Then slice after slice is made float32 and added up group by group: what that
    reads and writes stays in a cache, where the sums of many groups over all dimensions would not.
    ``squares_G``, each group's sum of squared norms, is NaN without ``squares``.

    Sums are float32, of a block and then of blocks, so that their relative error stays below 1e-5
    for any number of rows. Memory is ``4 * G * D`` bytes, twice that while :meth:`sums` joins the
    slices, and 36 MiB for a block at 1,024 dimensions. Of more than :data:`MANY_GROUPS` groups it
    is ``4 * G * D`` bytes throughout, and 96 MiB.
    """

    def __init__(
        self, groups: int, dim: int, *, squares: bool = False, block_rows: int = BLOCK_ROWS
    ) -> None:
        self.counts_G = np.zeros(groups, dtype=np.int64)
        self.squares_G = np.full(groups, 0.0 if squares else np.nan)
        self.rows = 0
        self._with_squares = squares
        self._dim = dim
        self._width = dim if groups > MANY_GROUPS else min(dim, SLICE_DIMS)
        slices = -(-dim // self._width)
        self._total_SW = np.zeros((slices, self._width), dtype=np.float64)
        self._sums_SGW = np.zeros((slices, groups, self._width), dtype=np.float32)
        self._block_rows = block_rows
        self._block: _Block | None = None
        self._members: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []
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
        if len(vectors_BD) > self._block_rows:
            _require_finite(vectors_BD)
            ends_B = np.cumsum(counts_B)
            first = 0
            for low in range(0, len(vectors_BD), self._block_rows):
                part = slice(low, low + self._block_rows)
                last = int(ends_B[part][-1])
                self.add(vectors_BD[part], counts_B[part], groups_P[first:last])
                first = last
            return
        members = len(groups_P) + sum(len(of_batch) for _, of_batch in self._members)
        if self._filled + len(vectors_BD) > self._block_rows or members > BLOCK_MEMBERS:
            self._add_block()
        if self._block is None:
            self._block = _Block(self._block_rows, self._dim, self._width)
        self._block.keep(np.ascontiguousarray(vectors_BD), at=self._filled)
        self.counts_G += np.bincount(groups_P, minlength=len(self.counts_G))
        self._members.append((counts_B, groups_P.astype(np.int32)))
        self._filled += len(vectors_BD)
        self.rows += len(vectors_BD)

    def sums(self) -> Float32:
        """The sum [G, D] of each group so far; the caller may overwrite it when it is done."""
        self._add_block()
        # What a block takes is free again before the sums are there twice.
        self._block = None
        return _joined(self._sums_SGW, self._dim)

    def total(self) -> NDArray[np.float64]:
        """The sum [D] of all rows so far, each once."""
        self._add_block()
        return self._total_SW.reshape(-1)[: self._dim]

    def _add_block(self) -> None:
        if not self._filled or self._block is None:
            return
        rows, groups = self._filled, len(self.counts_G)
        counts_R = np.concatenate([counts for counts, _ in self._members])
        groups_P = np.concatenate([of_batch for _, of_batch in self._members])
        there_U, product = _products(counts_R, groups_P, groups=groups)
        ones_R, squares_R = np.ones(rows, dtype=np.float32), np.zeros(rows)
        for number, rows_RW in enumerate(self._block.slices(rows)):
            self._total_SW[number] += ones_R @ rows_RW
            if self._with_squares:
                squares_R += np.einsum("rw,rw->r", rows_RW, rows_RW)
            if len(groups_P):
                self._sums_SGW[number][there_U] += product(rows_RW)
        if self._with_squares:
            self.squares_G += np.bincount(groups_P, np.repeat(squares_R, counts_R), groups)
        self._members, self._filled = [], 0


class _Block:
    """Rows as float16, slice after slice, of which one at a time is made float32."""

    def __init__(self, rows: int, dim: int, width: int) -> None:
        # Zeros, for what the last slice has more dimensions than there are.
        self._halves_SRW = np.zeros((-(-dim // width), rows, width), dtype=np.float16)
        self._rows_RW = np.empty((rows, width), dtype=np.float32)

    def keep(self, vectors_BD: NDArray[np.float16], *, at: int) -> None:
        """Cut rows, all of them finite, into slices; ``at`` is the place of the first."""
        slices, _, width = self._halves_SRW.shape
        full = vectors_BD.shape[1] // width
        # As one value of many bytes a row of a slice is copied at once.
        whole = np.dtype((np.void, 2 * width))
        whole_SR = self._halves_SRW.view(whole)[:, :, 0]
        for low in range(0, len(vectors_BD), _CHECKED_ROWS):
            rows_BD = vectors_BD[low : low + _CHECKED_ROWS]
            # Brings the rows into the cache out of which they are then cut: both together take
            # as long as cutting alone.
            _require_finite(rows_BD, first=low)
            here = slice(at + low, at + low + len(rows_BD))
            whole_SR[:full, here] = rows_BD[:, : full * width].view(whole).T
            if full < slices:
                rest_BW = rows_BD[:, full * width :]
                self._halves_SRW[full, here, : rest_BW.shape[1]] = rest_BW

    def slices(self, rows: int) -> Iterator[Float32]:
        """The first rows [R, W], slice after slice, in memory that the next one overwrites."""
        for halves_RW in self._halves_SRW:
            _convert(halves_RW[:rows], self._rows_RW[:rows])
            yield self._rows_RW[:rows]


def _joined(slices_SGW: Float32, dim: int) -> Float32:
    """Slices side by side: [G, D]."""
    slices, groups, width = slices_SGW.shape
    if slices == 1:
        whole_GD: Float32 = slices_SGW[0]
        return whole_GD
    joined_GD = np.empty((groups, dim), dtype=np.float32)
    for number, slice_GW in enumerate(slices_SGW):
        part = slice(number * width, min((number + 1) * width, dim))
        joined_GD[:, part] = slice_GW[:, : part.stop - part.start]
    return joined_GD


def _require_finite(vectors_BD: NDArray[np.float16], *, first: int = 0) -> None:
    """Raise :class:`NonFiniteRowError` for NaN or infinity; ``first`` is the first row's place."""
    if finite(vectors_BD):
        return
    bad = np.flatnonzero(~np.isfinite(vectors_BD).all(axis=1))
    raise NonFiniteRowError(first + int(bad[0]))


def _products(
    counts_R: NDArray[np.int64], groups_P: NDArray[np.int32], *, groups: int
) -> tuple[NDArray[np.int64] | slice, Callable[[Float32], Float32]]:
    """Which groups [U] the rows are in, and what makes their sums [U, W] from rows [R, W].

    Where that is most groups, all of them are taken: ``U`` is then a slice.
    """
    starts_R = np.zeros(len(counts_R) + 1, dtype=np.int32)
    np.cumsum(counts_R, out=starts_R[1:])
    ones_P = np.ones(len(groups_P), dtype=np.float32)
    by_row = csr_array((ones_P, groups_P, starts_R), shape=(len(counts_R), groups))
    by_group = by_row.tocsc()
    starts = by_group.indptr
    filled = np.flatnonzero(np.diff(starts))
    there_U: NDArray[np.int64] | slice = slice(None)
    if 2 * len(filled) < groups:
        there_U, starts = filled, np.append(starts[filled], starts[-1])
    torch = sys.modules.get("torch")
    if torch is None:
        shape = (len(starts) - 1, len(counts_R))
        members_UR = csr_array((ones_P, by_group.indices, starts), shape=shape)
        return there_U, members_UR.__matmul__
    # Several times faster than SciPy, where a program has it; importing it for this would take
    # longer than a million rows, and a quarter of a gigabyte.
    rows, bags = torch.from_numpy(by_group.indices), torch.from_numpy(starts)

    def product(rows_RW: Float32) -> Float32:
        sums_UW: Float32 = torch.nn.functional.embedding_bag(
            rows, torch.from_numpy(rows_RW), bags, mode="sum", include_last_offset=True
        ).numpy()
        return sums_UW

    return there_U, product


def _convert(halves_RW: NDArray[np.float16], rows_RW: Float32) -> None:
    """Finite float16 to float32, exactly, without NumPy's own conversion, which is slow.

    A float32 has eight bits of exponent where a float16 has five: the value's bits move by 13,
    and a factor of 2^112 mends the difference of the exponents' offsets.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.from_numpy(rows_RW).copy_(torch.from_numpy(halves_RW))
        return
    halves, rows = halves_RW.reshape(-1).view(np.int16), rows_RW.reshape(-1)
    bits = np.empty(min(_CONVERTED, len(rows)), dtype=np.int32)
    for low in range(0, len(rows), _CONVERTED):
        part = halves[low : low + _CONVERTED]
        moved = bits[: len(part)]
        np.copyto(moved, part)  # Extends the sign, so that bit 31 is right after the shift.
        np.left_shift(moved, 13, out=moved)
        np.bitwise_and(moved, _SIGN_AND_VALUE, out=moved)
        np.multiply(moved.view(np.float32), _REBIASED, out=rows[low : low + len(part)])
