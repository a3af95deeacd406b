"""Arrow pieces of the store: vectors as columns, filters from values, rows without repeats."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

READ_AHEAD_BYTES = 32 * 2**20
"""Bound on Lance's read-ahead; its default keeps several hundred megabytes in flight."""

Rows = pa.Table | Mapping[str, Any] | Iterable[Mapping[str, Any]]
"""What can be appended: an Arrow table, columns by name, or rows by name."""


def vector_array(column: Any) -> NDArray[Any]:
    """A fixed-size-list column as an array [n, D] of its type, float16 but for centroids.

    Without a copy where Arrow allows it.
    """
    flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, column.type.list_size)


def vector_column(
    vectors: NDArray[Any], *, dtype: type[np.floating[Any]] = np.float16
) -> "pa.FixedSizeListArray[Any]":
    """Vectors [n, D] as the column of a vector table (float16), or of ``centroids`` (float32)."""
    flat = pa.array(np.ascontiguousarray(vectors, dtype=dtype).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def vectors_by_id(
    batches: Iterable[pa.RecordBatch], ids: Sequence[str], *, dim: int
) -> tuple[NDArray[np.float16], str | None]:
    """Vectors [n, D] in the order of ``ids``, and the first id that has none (None: all have).

    ``batches`` hold an id and its vector a row, each of ``ids`` once at most.
    """
    found = np.zeros((len(ids), dim), dtype=np.float16)
    place = {i: n for n, i in enumerate(ids)}
    for batch in batches:
        rows = [place.pop(str(i)) for i in batch.column(0).to_pylist()]
        found[rows] = vector_array(batch.column(1))
    return found, next(iter(place), None)


def table_of(rows: Rows, schema: pa.Schema) -> pa.Table:
    """Rows as a table of this schema; columns that may be null may be absent."""
    if isinstance(rows, pa.Table):
        return rows.select(schema.names).cast(schema)
    if isinstance(rows, Mapping):
        count = len(rows[schema.names[0]])
        absent = {f.name: [None] * count for f in schema if f.nullable and f.name not in rows}
        return pa.Table.from_pydict({**rows, **absent}, schema=schema)
    return pa.Table.from_pylist(list(rows), schema=schema)


def filter_expression(where: Mapping[str, Any]) -> pc.Expression:
    """Columns that must have a value, or one of several (of none: no row has it).

    Values never become query text.
    """
    parts = []
    for column, value in where.items():
        field = pc.field(column)
        if isinstance(value, list | tuple | set | frozenset):
            # Of an empty list Arrow does not know the type.
            parts.append(field.isin(list(value)) if value else pc.scalar(False))
        else:
            parts.append(field == pc.scalar(value))
    expression = parts[0]
    for part in parts[1:]:
        expression = expression & part
    return expression


def unique_rows(rows: pa.Table, key: tuple[str, ...]) -> pa.Table:
    """Drop rows that repeat the key of an earlier row of the same batch."""
    if rows.num_rows < 2:
        return rows
    groups = _numbered(rows.select(list(key))).group_by(list(key), use_threads=False)
    first = groups.aggregate([(_NUMBER, "min")]).column(f"{_NUMBER}_min")
    return rows if len(first) == rows.num_rows else rows.take(np.sort(first.to_numpy()))


def rows_among(rows: pa.Table, keys: pa.Table) -> pa.Table:
    """The rows, in their order, whose columns of the names of ``keys`` are one of the keys."""
    return _matched(rows, keys, "left semi")


def rows_not_among(rows: pa.Table, keys: pa.Table) -> pa.Table:
    """The others."""
    return _matched(rows, keys, "left anti")


_NUMBER = ""
"""The name of a column of row numbers, which no table of the store has."""


def _matched(rows: pa.Table, keys: pa.Table, how: Literal["left semi", "left anti"]) -> pa.Table:
    names = keys.column_names
    found = _numbered(rows.select(names)).join(keys, names, join_type=how, use_threads=False)
    return rows.take(np.sort(found.column(_NUMBER).to_numpy()))


def _numbered(rows: pa.Table) -> pa.Table:
    return rows.append_column(_NUMBER, pa.array(np.arange(rows.num_rows)))
