"""The index over the vectors of a large table, by which the nearest are found without reading all.

Inverted lists with product quantisation (Lance's IVF_PQ): lists are learnt from the vectors by
cosine, and the vectors of a row are read again for the best that their codes name.
"""

import math
from typing import Any

INDEXED_KINDS = ("image_vectors",)
"""Tables that get one: those that ``find`` asks."""

MIN_ROWS = 200_000
"""Fewer vectors are read whole as quickly as anybody waits (docs/finding.md)."""

PROBES = 40
REFINE = 10
"""Lists that a question looks at, and how many times as many codes as asked are looked up."""

VECTOR = "vector"
"""The column that is indexed."""

_DIMENSIONS_A_CODE = 8


def has_vector_index(dataset: Any) -> bool:
    """Whether a table, a ``lance.LanceDataset``, has one."""
    return any(_is_ours(index) for index in dataset.describe_indices())


def make_vector_index(dataset: Any, *, min_rows: int = MIN_ROWS) -> bool:
    """Make the index of a table that has none and is large enough; whether it has one now.

    Rows that come later are searched exactly beside it, until ``optimize_indices`` takes them in.
    """
    if has_vector_index(dataset):
        return True
    rows = dataset.count_rows()
    if rows < min_rows:
        return False
    dim = dataset.schema.field(VECTOR).type.list_size
    dataset.create_index(
        VECTOR,
        "IVF_PQ",
        metric="cosine",
        num_partitions=lists(rows),
        num_sub_vectors=dim // _DIMENSIONS_A_CODE if dim % _DIMENSIONS_A_CODE == 0 else 1,
    )
    return True


def lists(rows: int) -> int:
    """Inverted lists of so many rows: about the square root, a power of two.

    >>> lists(1_000_000)
    1024
    """
    return int(2 ** round(math.log2(math.sqrt(max(rows, 1)))))


def _is_ours(index: Any) -> bool:
    return list(index.field_names) == [VECTOR]
