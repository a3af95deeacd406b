"""Means of many combinations, in memory while they are few, else in a file without a name.

B rows of a batch, C combinations, D embedding dimension.
"""

import os
import tempfile
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.geometry.group_sums import GroupSums, NonFiniteRowError

Float32 = NDArray[np.float32]

HELD_BYTES = 64 * 2**20
"""Rows of more than that lie in a file: 16,384 combinations at 1,024 dimensions."""

_ROWS_PER_READ = 4096


class RowFile:
    """Rows float32 [C, D], first all 0, in a file that goes when nobody holds it any more.

    Takes ``4 * C * D`` bytes of the folder for temporary files. Read and written, not mapped:
    mapped pages would count as memory of the process. Raises :class:`StoreError` where the disk
    is full.
    """

    def __init__(self, rows: int, dim: int) -> None:
        self.shape = (rows, dim)
        self._row_bytes = 4 * dim
        try:
            self._file, name = tempfile.mkstemp(prefix="taistore-")
            weakref.finalize(self, os.close, self._file)
            Path(name).unlink()
            os.ftruncate(self._file, rows * self._row_bytes)
        except OSError as error:
            raise self._no_room(error) from error

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Float32:
        """A range of rows without a step, or rows in any order: [B, D]."""
        if isinstance(rows, slice):
            low, high, _ = rows.indices(len(self))
            return self._range(low, max(high, low))
        found_BD = np.empty((len(rows), self.shape[1]), dtype=np.float32)
        for place, row in enumerate(rows.tolist()):
            self._read(row, found_BD[place : place + 1])
        return found_BD

    def __setitem__(self, rows: slice | NDArray[np.int64], values_BD: Float32) -> None:
        if isinstance(rows, slice):
            low, _, _ = rows.indices(len(self))
            self._write(low, values_BD)
            return
        for place, row in enumerate(rows.tolist()):
            self._write(row, values_BD[place : place + 1])

    def _range(self, low: int, high: int) -> Float32:
        found_BD = np.empty((high - low, self.shape[1]), dtype=np.float32)
        for first in range(0, high - low, _ROWS_PER_READ):
            self._read(low + first, found_BD[first : first + _ROWS_PER_READ])
        return found_BD

    def _read(self, row: int, into_BD: Float32) -> None:
        left, at = into_BD.data.cast("B"), row * self._row_bytes
        while len(left):
            count = os.preadv(self._file, [left], at)
            if not count:
                raise IndexError(f"row {row} is not below {len(self)}")
            left, at = left[count:], at + count

    def _write(self, row: int, values_BD: Float32) -> None:
        left = np.ascontiguousarray(values_BD, dtype=np.float32).data.cast("B")
        at = row * self._row_bytes
        try:
            while len(left):
                count = os.pwrite(self._file, left, at)
                left, at = left[count:], at + count
        except OSError as error:
            raise self._no_room(error) from error

    def _no_room(self, error: OSError) -> StoreError:
        return StoreError(
            f"{tempfile.gettempdir()}: {len(self) * self._row_bytes / 2**30:.1f} GiB for the means "
            f"of {len(self):,} combinations cannot be kept there ({error.strerror}): name a "
            "folder on a larger disk in TMPDIR"
        )


class HeldMeans:
    """Means of groups of rows in memory; each row is in one group."""

    def __init__(self, groups: int, dim: int) -> None:
        self._sums = GroupSums(groups, dim)
        self.counts_G = self._sums.counts_G

    def add(self, vectors_BD: NDArray[np.float16], groups_B: NDArray[np.int64]) -> None:
        """Add rows; raises :class:`NonFiniteRowError` before any of the batch is added."""
        self._sums.add(vectors_BD, np.ones(len(groups_B), dtype=np.int64), groups_B)

    def means(self) -> Float32:
        """The mean [G, D] of each group, once all rows are added."""
        means_GD = self._sums.sums()
        means_GD /= np.maximum(self.counts_G, 1)[:, None].astype(np.float32)
        return means_GD

    def mean(self) -> Float32:
        """The mean [D] of all rows."""
        mean_D: Float32 = (self._sums.total() / max(self._sums.rows, 1)).astype(np.float32)
        return mean_D


class FiledMeans:
    """The same in a :class:`RowFile`: memory is a block of rows, whatever the groups."""

    def __init__(self, groups: int, dim: int) -> None:
        self.counts_G = np.zeros(groups, dtype=np.int64)
        self._sums = RowFile(groups, dim)
        self._total_D = np.zeros(dim, dtype=np.float64)

    def add(self, vectors_BD: NDArray[np.float16], groups_B: NDArray[np.int64]) -> None:
        """Add rows; raises :class:`NonFiniteRowError` before any of the batch is added."""
        bad = np.flatnonzero(~np.isfinite(vectors_BD).all(axis=1))
        if len(bad):
            raise NonFiniteRowError(int(bad[0]))
        for low in range(0, len(vectors_BD), _ROWS_PER_READ):
            rows_BD = vectors_BD[low : low + _ROWS_PER_READ].astype(np.float32)
            groups = groups_B[low : low + _ROWS_PER_READ]
            order = np.argsort(groups, kind="stable")
            there, first, counts = np.unique(groups[order], return_index=True, return_counts=True)
            sums = np.add.reduceat(rows_BD[order], first, axis=0)
            seen = np.flatnonzero(self.counts_G[there])
            sums[seen] += self._sums[there[seen]]
            self._sums[there] = sums
            self.counts_G[there] += counts
            self._total_D += rows_BD.sum(axis=0, dtype=np.float64)

    def means(self) -> RowFile:
        """The mean [G, D] of each group, once all rows are added."""
        for low in range(0, len(self._sums), _ROWS_PER_READ):
            block = slice(low, low + _ROWS_PER_READ)
            counts = np.maximum(self.counts_G[block], 1).astype(np.float32)
            self._sums[block] = self._sums[block] / counts[:, None]
        return self._sums

    def mean(self) -> Float32:
        """The mean [D] of all rows."""
        mean_D: Float32 = (self._total_D / max(int(self.counts_G.sum()), 1)).astype(np.float32)
        return mean_D


def open_means(groups: int, dim: int) -> HeldMeans | FiledMeans:
    """Held in memory up to :data:`HELD_BYTES`."""
    return HeldMeans(groups, dim) if 4 * groups * dim <= HELD_BYTES else FiledMeans(groups, dim)
