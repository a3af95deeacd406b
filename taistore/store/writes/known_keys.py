"""Where the rows with given keys are, kept up to date at the cost of what is new in a table."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.store.arrow import READ_AHEAD_BYTES, rows_among
from taistore.store.tables.label_lists import gather_rows
from taistore.store.writes.commits import (
    ADDRESS,
    NOWHERE,
    Addresses,
    address_filter,
)

_SEED = 2312

_PLACE = 2**32 - 1
_HASH = np.uint64(_PLACE << 32)
"""The bits of a number that are its row's place, and those that are of its key's hash."""

_TAKEN_ROWS = 8192
"""Rows that are read by their addresses at once."""

UInt64 = NDArray[np.uint64]


class KnownKeys:
    """The rows of one table by the columns ``key``, in 8 bytes a row.

    Each row is a number: half of its key's hash and, below it, its *place*, counted over the
    fragments as they were read. Deleted rows are numbers too, as a version that is restored may
    have them again. What is not found is not in the table. What is found may be deleted, or have
    another key with the same half, so :meth:`find` reads these rows: what an answer costs does not
    grow with the table.
    """

    def __init__(self, key: tuple[str, ...]) -> None:
        self._key = list(key)
        self._forget_all()

    def _forget_all(self) -> None:
        self._version = 0
        self._files: dict[int, str] = {}
        # Of every fragment that was read, in that order: its id and the place of its first row.
        self._ids, self._firsts, self._places = NOWHERE, NOWHERE, 0
        # Sorted runs of numbers, each at least twice as long as the next: few to search, and each
        # number is merged a logarithmic number of times.
        self._runs: list[UInt64] = []

    def find(self, dataset: Any, keys: pa.Table, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of a ``lance.LanceDataset`` with one of these keys, and their addresses.

        ``columns`` are those beside the key; None: all.
        """
        self.follow(dataset)
        names = None if columns is None else list(dict.fromkeys([*self._key, *columns]))
        addresses = self.may_hold(keys)
        found = []
        for low in range(0, len(addresses), _TAKEN_ROWS):
            scanner = dataset.scanner(
                columns=names,
                filter=address_filter(addresses[low : low + _TAKEN_ROWS]),
                with_row_address=True,
                io_buffer_size=READ_AHEAD_BYTES,
            )
            found.append(rows_among(scanner.to_table(), keys.select(self._key)))
        if found:
            return pa.concat_tables(found)
        schema = dataset.schema
        schema = schema if names is None else pa.schema([schema.field(name) for name in names])
        return schema.append(pa.field(ADDRESS, pa.uint64())).empty_table()

    def follow(self, dataset: Any) -> None:
        """Read the keys of those fragments that are new since, forget those that are gone."""
        fragments = {fragment.fragment_id: fragment for fragment in dataset.get_fragments()}
        there = self._still_there(fragments)
        if dataset.version < self._version and len(there) == len(fragments):
            return  # all is known, and what newer versions have beside it is asked for again
        self._forget_all_but(there)
        new = [fragments[i] for i in sorted(fragments.keys() - there)]
        if self._places + sum(fragment.physical_rows for fragment in new) > _PLACE:
            self._forget_all()
            new = [fragments[i] for i in sorted(fragments)]
        if new:
            self._read(dataset, new)
        self._version = int(dataset.version)

    def _still_there(self, fragments: dict[int, Any]) -> set[int]:
        """Which of the fragments that were read are among these.

        What was read is of one version and those before it. A version that was restored, and a
        table made anew, give numbers of fragments again, but from one number on all of them: below
        one that has the file that it had, all have.
        """
        shared = sorted(self._files.keys() & fragments)
        while shared and self._files[shared[-1]] != _file_of(fragments[shared[-1]]):
            shared.pop()
        return set(shared)

    def _read(self, dataset: Any, new: list[Any]) -> None:
        counts = np.array([fragment.physical_rows for fragment in new], np.int64)
        scanner = dataset.scanner(
            columns=self._key,
            fragments=new,
            include_deleted_rows=True,
            with_row_id=True,  # which Lance asks for where deleted rows come too
            scan_in_order=True,
            io_buffer_size=READ_AHEAD_BYTES,
        )
        # All or nothing: where a read fails, no row of these fragments is known.
        runs, place = list(self._runs), self._places
        for batch in scanner.to_batches():
            halves = key_hashes(pa.Table.from_batches([batch]).select(self._key)) & _HASH
            _add(runs, halves | np.arange(place, place + len(halves), dtype=np.uint64))
            place += len(halves)
        assert place == self._places + counts.sum(), "rows that were not read would come twice"
        ids = [fragment.fragment_id for fragment in new]
        self._files |= {fragment.fragment_id: _file_of(fragment) for fragment in new}
        self._ids = np.concatenate([self._ids, np.array(ids, np.int64)])
        self._firsts = np.concatenate([self._firsts, self._places + np.cumsum(counts) - counts])
        self._runs, self._places = runs, place

    def _forget_all_but(self, there: set[int]) -> None:
        if len(there) == len(self._files):
            return None
        if not there:
            return self._forget_all()
        self._files = {i: file for i, file in self._files.items() if i in there}
        kept = np.isin(self._ids, list(there))
        runs = [run[kept[self._parts(run)]] for run in self._runs]
        self._runs = [run for run in runs if len(run)]
        return None

    def may_hold(self, keys: pa.Table) -> Addresses:
        """Where the rows with these keys may be, ascending."""
        halves = np.unique(key_hashes(keys.select(self._key)) & _HASH)
        parts: list[Addresses] = [NOWHERE]
        for run in self._runs:
            low = np.searchsorted(run, halves)
            counts = np.searchsorted(run, halves | _PLACE, side="right") - low
            found = gather_rows(low, counts, run)
            part = self._parts(found)
            within = (found & _PLACE).astype(np.int64) - self._firsts[part]
            parts.append((self._ids[part] << 32) | within)
        return np.unique(np.concatenate(parts))

    def _parts(self, numbers: UInt64) -> NDArray[np.int64]:
        """Which of the fragments that were read each number's row lies in."""
        places = (numbers & _PLACE).astype(np.int64)
        return np.searchsorted(self._firsts, places, side="right") - 1


def _add(runs: list[UInt64], numbers: UInt64) -> None:
    if not len(numbers):
        return
    runs.append(np.sort(numbers))
    while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
        shorter, longer = runs.pop(), runs.pop()
        merged = np.concatenate([longer, shorter])
        merged.sort(kind="stable")  # two sorted runs: a merge
        runs.append(merged)


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
