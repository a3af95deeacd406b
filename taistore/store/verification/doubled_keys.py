"""Rows whose key comes more than once, in bounded memory, and rows removed by their address."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.store.arrow import READ_AHEAD_BYTES
from taistore.store.lance_errors import writing
from taistore.store.writes.commits import NOWHERE, Addresses, committed, tries
from taistore.store.writes.known_keys import key_hashes

_KEYS_AT_ONCE = 2**14
"""Doubled keys that are looked up and removed in one commit, however many there are."""

_ADDRESS = "_rowaddr"


def column_hashes(dataset: Any, columns: tuple[str, ...]) -> NDArray[np.uint64]:
    """Sorted hashes of these columns, 8 bytes a row."""
    parts: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    scanner = dataset.scanner(columns=list(columns), io_buffer_size=READ_AHEAD_BYTES)
    parts += [key_hashes(pa.Table.from_batches([batch])) for batch in scanner.to_batches()]
    hashes = np.concatenate(parts)
    hashes.sort()
    return hashes


def doubled_rows(dataset: Any, key: tuple[str, ...]) -> tuple[int, Addresses, str]:
    """How many rows repeat a key, where the first of these are, and one such key.

    Of the rows of a key the one that was written last counts as the one to keep.
    """
    hashes = column_hashes(dataset, key)
    repeats = hashes[1:][hashes[1:] == hashes[:-1]]
    if not len(repeats):
        return 0, NOWHERE, ""
    rows = _rows_with_hashes(dataset, key, np.unique(repeats)[:_KEYS_AT_ONCE])
    # Equal hashes are not yet equal keys.
    again = rows.filter(pl.col(_ADDRESS) != pl.col(_ADDRESS).max().over(key))
    if not len(again):
        return 0, NOWHERE, ""
    example = ", ".join(str(again[name][0]) for name in key)
    return len(repeats), again[_ADDRESS].to_numpy().astype(np.int64), example


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


def is_among(hashes: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """For each hash whether it is one of the ``known``, which are sorted."""
    if not len(known):
        return np.zeros(len(hashes), dtype=bool)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    found: NDArray[np.bool_] = known[places] == hashes
    return found


def remove_rows(dataset: Any, table: str, find: Callable[[Any], Addresses]) -> int:
    """Delete what ``find`` finds in the newest version, until it finds nothing; returns how many.

    Each commit counts only where no other came first, so that beside writers no row is removed that
    was not looked at.
    """
    removed = 0
    with writing(dataset.uri, table):
        while True:
            for _ in tries():
                dataset.checkout_latest()
                gone = find(dataset)
                if not len(gone):
                    return removed
                if committed(dataset, dataset.schema.empty_table(), gone):
                    removed += len(gone)
                    break
            else:
                raise StoreError(
                    f"{dataset.uri}: other jobs write it all the time: wait for one of them, then "
                    "run the same command again"
                )
