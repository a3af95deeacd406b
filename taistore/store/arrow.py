"""Arrow pieces of the store: vectors as columns, filters from values, rows without repeats."""

from collections.abc import Iterable, Mapping
from typing import Any

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


def filter_expression(where: Mapping[str, Any]) -> pc.Expression:
    """Columns that must have a value, or one of several; values never become query text."""
    parts = []
    for column, value in where.items():
        field = pc.field(column)
        if isinstance(value, list | tuple | set | frozenset):
            # An empty list has no type that Arrow could compare with the column's.
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
    keys = zip(*(rows.column(name).to_pylist() for name in key), strict=True)
    first: dict[tuple[Any, ...], int] = {}
    for i, value in enumerate(keys):
        first.setdefault(value, i)
    return rows if len(first) == rows.num_rows else rows.take(list(first.values()))
