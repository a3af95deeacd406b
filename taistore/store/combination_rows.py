"""The label combinations of a store as compressed rows: about 24 bytes each, looked up in bulk."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.store.tables.label_lists import gather_rows, ragged


@dataclass(frozen=True, slots=True)
class CombinationIndex:
    """Label ids of M combinations in compressed sparse rows, sorted by ``combination_id``.

    Row ``m`` holds ``label_ids[offsets[m]:offsets[m + 1]]``.
    """

    combination_ids: NDArray[np.int64]
    offsets: NDArray[np.int64]
    label_ids: NDArray[np.int32]

    @classmethod
    def build(
        cls,
        combination_ids: NDArray[np.int64],
        counts: NDArray[np.int64],
        label_ids: NDArray[np.int32],
    ) -> "CombinationIndex":
        """From unsorted ids [M], labels per combination [M] and the labels one after another."""
        order = np.argsort(combination_ids, kind="stable")
        starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
        flat = gather_rows(starts[order], counts[order], label_ids)
        offsets = np.concatenate([[0], np.cumsum(counts[order])]).astype(np.int64)
        return cls(combination_ids[order], offsets, flat)

    @classmethod
    def read(cls, batches: Iterable[pa.RecordBatch]) -> "CombinationIndex":
        """From the rows of the table ``combinations``."""
        ids: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        counts: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        labels: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        for batch in batches:
            counts_B, flat = ragged(batch.column("label_ids"))
            ids.append(batch.column("combination_id").to_numpy())
            counts.append(counts_B)
            labels.append(flat)
        return cls.build(np.concatenate(ids), np.concatenate(counts), np.concatenate(labels))

    def __len__(self) -> int:
        return len(self.combination_ids)

    def rows(self, combination_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each id [B]; raises KeyError on an id that the store does not hold."""
        return find_rows(
            self.combination_ids,
            combination_ids,
            missing="a combination_id is not in the table 'combinations'",
        )

    def rows_with(self, label: int) -> NDArray[np.int64]:
        """The rows that hold a label, ascending."""
        places = np.flatnonzero(self.label_ids == label)
        return np.unique(np.searchsorted(self.offsets, places, side="right") - 1)

    def positives(
        self, combination_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Labels of each combination [B]: counts [B] and label ids, one after another [P]."""
        rows = self.rows(combination_ids)
        starts = self.offsets[rows]
        counts = self.offsets[rows + 1] - starts
        return counts, gather_rows(starts, counts, self.label_ids)


def find_rows(
    sorted_ids: NDArray[np.int64], asked_B: NDArray[np.int64], *, missing: str
) -> NDArray[np.int64]:
    """Row of each asked id in ``sorted_ids``; raises KeyError(``missing``) where one is absent."""
    if not len(asked_B):
        return np.empty(0, dtype=np.int64)
    rows_B = np.minimum(np.searchsorted(sorted_ids, asked_B), max(len(sorted_ids) - 1, 0))
    if not len(sorted_ids) or np.any(sorted_ids[rows_B] != asked_B):
        raise KeyError(missing)
    return rows_B.astype(np.int64)
