"""Rows whose key comes more than once, found in bounded memory."""

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from taistore.store.arrow import READ_AHEAD_BYTES
from taistore.store.writes.commits import ADDRESS, NOWHERE, Addresses
from taistore.store.writes.known_keys import column_hashes, is_among, key_hashes
from taistore.store.writes.removal import ROWS_AT_ONCE


def doubled_rows(dataset: Any, key: tuple[str, ...]) -> tuple[int, Addresses, str]:
    """How many rows repeat a key, where the first of these are, and one such key.

    Of the rows of a key the one that was written last counts as the one to keep.
    """
    hashes = column_hashes(dataset, key)
    repeats = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(repeats):
        return 0, NOWHERE, ""
    rows = _rows_with_hashes(dataset, key, np.unique(repeats)[:ROWS_AT_ONCE])
    # Equal hashes are not yet equal keys.
    again = rows.filter(pl.col(ADDRESS) != pl.col(ADDRESS).max().over(key))
    if not len(again):
        return 0, NOWHERE, ""
    example = ", ".join(str(again[name][0]) for name in key)
    return len(repeats), again[ADDRESS].to_numpy().astype(np.int64), example


def _rows_with_hashes(
    dataset: Any, key: tuple[str, ...], hashes: NDArray[np.uint64]
) -> pl.DataFrame:
    scanner = dataset.scanner(
        columns=list(key), with_row_address=True, io_buffer_size=READ_AHEAD_BYTES
    )
    found = []
    for batch in scanner.to_batches():
        table = pa.Table.from_batches([batch])
        wanted = is_among(key_hashes(table.select(list(key))), hashes)
        if wanted.any():
            found.append(pl.from_arrow(table.filter(pa.array(wanted))))
    return pl.concat([frame for frame in found if isinstance(frame, pl.DataFrame)])
