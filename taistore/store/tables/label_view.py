"""The labels that a reader of a store sees: what lies in its tables by id, it gets by column.

A label keeps its ``label_id`` for good: the tables name labels by it. Labels are added behind the
others, retired, and merged into others; who reads sees those that are left, as columns 0 to N - 1.

M labels that the store ever had, N that are seen, B rows of a batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from taistore.labels import Label, LabelSet
from taistore.store.tables.label_lists import ragged

LISTS = {
    "combinations": ("label_ids",),
    "images": ("positives", "negatives"),
    "texts": ("mentions",),
}
"""The columns of each table that list labels."""

_PRESENT = "positives"
_ABSENT = "negatives"
"""The column in which a label that was merged into another says nothing of that: an image without
one of the two may show the other."""

COVERED = "covered"
"""How many of the store's labels, the first ones, an image's complete labels are about; else 0."""


@dataclass(frozen=True, slots=True)
class StoredLabel:
    """A row of the table ``labels``.

    ``addition`` counts the additions of labels before this one came; ``merged_into`` is the id of
    the label that it is now a part of. Such a label is ``retired`` too.
    """

    label_id: int
    label: Label
    addition: int = 0
    retired: bool = False
    merged_into: int | None = None

    @classmethod
    def of(cls, row: dict[str, Any]) -> Self:
        """From a row, which older stores have without what came later."""
        return cls(
            int(row["label_id"]),
            Label(row["key"], row["name"], tuple(row["synonyms"])),
            row.get("addition", 0),
            row.get("retired", False),
            row.get("merged_into"),
        )

    def to_row(self) -> dict[str, Any]:
        """The row."""
        return {
            "label_id": self.label_id,
            "key": self.label.key,
            "name": self.label.name,
            "synonyms": list(self.label.synonyms),
            "addition": self.addition,
            "retired": self.retired,
            "merged_into": self.merged_into,
        }


@dataclass(frozen=True, slots=True)
class LabelView:
    """Labels that are seen, with the id of each column [N], ascending, and where each id shows [M].

    ``column_of`` is -1 for labels that are not seen. ``additions`` [N] says with which addition the
    label of each column came.
    """

    labels: LabelSet
    label_ids: NDArray[np.int32]
    column_of: NDArray[np.int32]
    additions: NDArray[np.int32]

    @classmethod
    def of(cls, rows: Sequence[StoredLabel], seen: Iterable[int]) -> Self:
        """Of all labels, by id, those ``seen``; what is merged into one of them shows as it."""
        ids = np.array(sorted(set(seen)), dtype=np.int32)
        column_of = np.full(len(rows), -1, dtype=np.int32)
        column_of[ids] = np.arange(len(ids))
        for row in rows:
            if column_of[row.label_id] < 0 and row.merged_into is not None:
                column_of[row.label_id] = column_of[row.merged_into]
        return cls(
            LabelSet(rows[i].label for i in ids.tolist()),
            ids,
            column_of,
            np.array([rows[i].addition for i in ids.tolist()], dtype=np.int32),
        )

    @property
    def is_whole(self) -> bool:
        """Whether every label is seen, so that columns are ids."""
        return len(self.label_ids) == len(self.column_of)

    def read(self, kind: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of a table with columns in the place of ids; labels that are not seen are left out.

        So are labels that came after this view was made.
        """
        for name in LISTS.get(kind, ()):
            if (place := batch.schema.get_field_index(name)) >= 0:
                seen = self._seen(batch.column(place), merged=name != _ABSENT)
                batch = batch.set_column(place, batch.schema.field(place), seen)
        if kind == "images" and self.has_merged and {_ABSENT, _PRESENT} <= {*batch.schema.names}:
            batch = self._without_contradictions(batch)
        place = batch.schema.get_field_index(COVERED) if kind == "images" else -1
        if place >= 0:
            covered_B = batch.column(place).to_numpy(zero_copy_only=False)
            columns_B = np.searchsorted(self.label_ids, covered_B).astype(np.int32)
            batch = batch.set_column(place, batch.schema.field(place), pa.array(columns_B))
        return batch

    @property
    def has_merged(self) -> bool:
        """Whether a label shows as another one."""
        return int((self.column_of >= 0).sum()) > len(self.label_ids)

    def _without_contradictions(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Images that show a label by one of its parts are not said not to show it."""
        size = np.int64(len(self.labels))
        cells = []
        for name in (_PRESENT, _ABSENT):
            counts_B, columns = ragged(rows.column(name))
            cells.append(np.repeat(np.arange(len(counts_B)), counts_B) * size + columns)
        row, column = np.divmod(np.setdiff1d(cells[1], cells[0]), size)
        place = rows.schema.get_field_index(_ABSENT)
        counts_B = np.bincount(row, minlength=rows.num_rows)
        lists = _lists(counts_B, column, rows.column(place))
        return rows.set_column(place, rows.schema.field(place), lists)

    def read_table(self, kind: str, rows: pa.Table) -> pa.Table:
        """The same of a table."""
        if kind not in LISTS:
            return rows
        batches = [self.read(kind, batch) for batch in rows.to_batches()]
        return pa.Table.from_batches(batches, schema=rows.schema)

    def written(self, kind: str, rows: pa.Table) -> pa.Table:
        """Rows with ids in the place of columns, for a table."""
        if self.is_whole:
            return rows
        for name in LISTS.get(kind, ()):
            place = rows.schema.get_field_index(name)
            column = rows.column(place).combine_chunks()
            counts_B, columns = _ragged(column)
            lists = _lists(counts_B, self.label_ids[columns], column)
            rows = rows.set_column(place, rows.schema.field(place), lists)
        return rows

    def ids(self, columns: Iterable[int]) -> tuple[int, ...]:
        """The label ids of columns, in their order."""
        return tuple(int(self.label_ids[column]) for column in columns)

    def _seen(self, lists: Any, *, merged: bool) -> "pa.Array[Any]":
        counts_B, ids = _ragged(lists)
        if self.is_whole and (not len(ids) or int(ids.max()) < len(self.column_of)):
            return cast("pa.Array[Any]", lists)
        known = ids < len(self.column_of)
        places = np.where(known, ids, 0)
        columns = np.where(known, self.column_of[places], -1)
        kept = columns >= 0
        if not merged:
            kept &= self.label_ids[columns] == places
        row_P = np.repeat(np.arange(len(counts_B)), counts_B)
        # Of two labels that show as one, one is enough; lists are ascending, as ever.
        cells = np.unique(row_P[kept] * np.int64(len(self.labels)) + columns[kept])
        rows, shown = np.divmod(cells, len(self.labels))
        return _lists(np.bincount(rows, minlength=len(counts_B)), shown, lists)


def _ragged(lists: Any) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """As :func:`ragged`, of a column in which lists may be null: as if they were empty."""
    if not lists.null_count:
        return ragged(lists)
    counts_B = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return counts_B.astype(np.int64), lists.flatten().to_numpy(zero_copy_only=False)


def _lists(counts_B: NDArray[Any], values: NDArray[Any], like: Any) -> "pa.Array[Any]":
    """Lists of these lengths and values, null where ``like`` is."""
    offsets = np.concatenate([[0], np.cumsum(counts_B)]).astype(np.int32)
    mask = like.is_null() if like.null_count else None
    flat: Any = pa.array(values.astype(np.int32))
    made: pa.Array[Any] = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), flat, type=like.type, mask=mask
    )
    return made
