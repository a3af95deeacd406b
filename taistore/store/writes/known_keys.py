"""Hashes of keys: which ones a table may hold, kept up to date at the cost of what is new in it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.store.arrow import READ_AHEAD_BYTES

_SEED = 2312


class KnownKeys:
    """Hashes of the keys of one table, 8 bytes a row.

    A key that is absent here is absent in the table; one that is present may have gone since, or be
    another with the same hash, so who needs to be sure looks into the table.
    """

    def __init__(self, key: tuple[str, ...]) -> None:
        self._key = list(key)
        self._fragments: set[int] = set()
        self._first_file = ""
        # Sorted runs of hashes, each at least twice as long as the next: few to search, and each
        # hash is merged a logarithmic number of times.
        self._runs: list[NDArray[np.uint64]] = []

    def follow(self, dataset: Any) -> None:
        """Read the keys of those fragments of a ``lance.LanceDataset`` that are new since."""
        fragments = {fragment.fragment_id: fragment for fragment in dataset.get_fragments()}
        first = _file_of(fragments[min(self._fragments)]) if self._still_in(fragments) else ""
        # Compacted: the same keys in other fragments. Or dropped and made anew.
        if first != self._first_file:
            self._fragments, self._runs = set(), []
        new = [fragments[i] for i in sorted(fragments.keys() - self._fragments)]
        if new:
            scanner = dataset.scanner(
                columns=self._key, fragments=new, io_buffer_size=READ_AHEAD_BYTES
            )
            for batch in scanner.to_batches():
                self._add(key_hashes(pa.Table.from_batches([batch])))
        self._fragments = set(fragments)
        self._first_file = _file_of(fragments[min(fragments)]) if fragments else ""

    def _still_in(self, fragments: Mapping[int, Any]) -> bool:
        return bool(self._fragments) and self._fragments <= fragments.keys()

    def may_hold(self, rows: pa.Table) -> NDArray[np.bool_]:
        """For each row [n] whether the table may hold its key."""
        hashes = key_hashes(rows.select(self._key))
        found = np.zeros(len(hashes), dtype=bool)
        for run in self._runs:
            found |= is_among(hashes, run)
        return found

    def _add(self, hashes: NDArray[np.uint64]) -> None:
        if not len(hashes):
            return
        self._runs.append(np.sort(hashes))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            shorter, longer = self._runs.pop(), self._runs.pop()
            merged = np.concatenate([longer, shorter])
            merged.sort(kind="stable")  # two sorted runs: a merge
            self._runs.append(merged)


def _file_of(fragment: Any) -> str:
    """The name of a fragment's first file, which no other fragment ever has."""
    return str(fragment.metadata.files[0].path)


def key_hashes(keys: pa.Table) -> NDArray[np.uint64]:
    """A hash of each row [n]."""
    import polars as pl  # late: who only reads a store spares its import

    frame = pl.from_arrow(keys)
    assert isinstance(frame, pl.DataFrame)
    return frame.hash_rows(seed=_SEED).to_numpy()


def column_hashes(dataset: Any, columns: tuple[str, ...]) -> NDArray[np.uint64]:
    """Sorted hashes of these columns, 8 bytes a row."""
    parts: list[NDArray[np.uint64]] = [np.empty(0, np.uint64)]
    scanner = dataset.scanner(columns=list(columns), io_buffer_size=READ_AHEAD_BYTES)
    parts += [key_hashes(pa.Table.from_batches([batch])) for batch in scanner.to_batches()]
    hashes = np.concatenate(parts)
    hashes.sort()
    return hashes


def is_among(hashes: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """For each hash whether it is one of the ``known``, which are sorted."""
    if not len(known):
        return np.zeros(len(hashes), dtype=bool)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    found: NDArray[np.bool_] = known[places] == hashes
    return found
