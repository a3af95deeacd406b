"""Lists of label ids, of many combinations or images, as compressed sparse rows.

I rows, B rows that are asked for, P label ids of all rows, one row after another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.number[Any])


@dataclass(frozen=True, slots=True)
class Ragged:
    """Label ids of many rows: row ``i`` holds ``label_ids[offsets[i]:offsets[i + 1]]``."""

    offsets: NDArray[np.int64]
    label_ids: NDArray[np.int32]

    @classmethod
    def build(cls, counts_I: NDArray[Any], label_ids: NDArray[np.int32]) -> Self:
        """From labels per row [I] and the labels of all rows, one row after another."""
        offsets = np.zeros(len(counts_I) + 1, dtype=np.int64)
        np.cumsum(counts_I, out=offsets[1:])
        return cls(offsets, label_ids)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Labels of each row [I]."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each label id [P]."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts)

    def take(self, rows_B: NDArray[np.int64]) -> "Ragged":
        """These rows, in this order."""
        starts_B = self.offsets.take(rows_B)
        counts_B = self.offsets.take(rows_B + 1) - starts_B
        return Ragged.build(counts_B, gather_rows(starts_B, counts_B, self.label_ids))


def ragged(column: Any) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """A list column as counts [B] and values [P], one list after another."""
    counts_B = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    return counts_B, column.flatten().to_numpy(zero_copy_only=False)


ALL_LABELS = np.int32(2**31 - 1)
"""Stands for more labels than there can be."""


def covered_where(complete_B: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Int32 [B]: all labels where an image's labels are complete, else none."""
    return np.where(complete_B, ALL_LABELS, np.int32(0))


def covered_labels(rows: pa.RecordBatch | pa.Table) -> NDArray[np.int32]:
    """Of how many labels, the first ones, all is said of each image: int32 [B].

    ``rows`` have the columns ``complete`` and ``covered`` of ``images``; what was stated before
    labels were added says nothing of these.
    """
    complete_B = rows.column("complete").to_numpy(zero_copy_only=False)
    column: Any = rows.column("covered")
    covered = column.fill_null(int(ALL_LABELS))
    return np.where(complete_B, covered.to_numpy(zero_copy_only=False), 0).astype(np.int32)


def joined(parts: Sequence[Ragged], order: NDArray[np.int64] | None = None) -> Ragged:
    """The rows of all parts, one part after another, or in ``order`` of these."""
    filled = [part for part in parts if len(part.offsets) > 1]
    if len(filled) == 1:
        return filled[0]
    counts = np.concatenate([np.empty(0, np.int64), *(part.counts for part in filled)])
    label_ids = np.concatenate([np.empty(0, np.int32), *(part.label_ids for part in filled)])
    joined = Ragged.build(counts, label_ids)
    return joined if order is None else joined.take(order)


_GATHERED = 2**18
"""Rows gathered at once, so that what is needed on the way stays small beside the result."""


def gather_rows(
    starts: NDArray[np.int64], counts: NDArray[np.int64], flat: NDArray[Number]
) -> NDArray[Number]:
    """Concatenate ``flat[s:s + c]`` for every start and count, without a loop over rows."""
    ends = np.cumsum(counts)
    gathered = np.empty(int(ends[-1]) if len(ends) else 0, dtype=flat.dtype)
    for low in range(0, len(counts), _GATHERED):
        block = slice(low, low + _GATHERED)
        first, last = int(ends[low] - counts[low]), int(ends[block][-1])
        begins = ends[block] - counts[block] - first
        place = np.repeat(starts[block] - begins, counts[block])
        place += np.arange(last - first)
        gathered[first:last] = flat.take(place)
    return gathered
