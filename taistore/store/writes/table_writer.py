"""Writing the tables of a store: rows inserted, replaced and removed, each in one commit."""

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from taistore.errors import StoreError
from taistore.store.arrow import rows_not_among, unique_rows
from taistore.store.lance_errors import reading, writing
from taistore.store.places import storage_options
from taistore.store.tables.lance_tables import LanceTables
from taistore.store.writes.commits import (
    ADDRESS,
    NOWHERE,
    addresses_in,
    committed,
    created,
    emptied,
    rows_where,
    tries,
)
from taistore.store.writes.known_keys import KnownKeys


class TableWriter:
    """Writes tables by name; one write at a time in this process.

    ``key`` names the columns that identify a row. Every write counts only where no other came first
    (:mod:`taistore.store.writes.commits`), and is tried again where one did.
    """

    def __init__(self, tables: LanceTables) -> None:
        self._tables = tables
        self._uri = tables.uri
        self._known_keys: dict[tuple[str, tuple[str, ...]], KnownKeys] = {}
        self._writing = threading.Lock()

    def insert(self, name: str, rows: pa.Table, key: tuple[str, ...]) -> int:
        """Insert the rows whose key is absent; returns how many were inserted."""

        def put(dataset: Any, data: pa.Table) -> int | None:
            there = self._found(name, dataset, data, key, columns=[]).select(list(key))
            absent = rows_not_among(data, there) if there.num_rows else data
            done = not absent.num_rows or committed(dataset, absent)
            return int(absent.num_rows) if done else None

        return self._put(name, unique_rows(rows, key), put)

    def upsert(self, name: str, rows: pa.Table, key: tuple[str, ...]) -> int:
        """Insert new rows and replace those whose key is there; returns how many were inserted."""

        def put(dataset: Any, data: pa.Table) -> int | None:
            old = addresses_in(self._found(name, dataset, data, key, columns=[]))
            return int(data.num_rows) - len(old) if committed(dataset, data, old) else None

        return self._put(name, unique_rows(rows, key), put)

    def _put(self, name: str, data: pa.Table, put: Callable[[Any, pa.Table], int | None]) -> int:
        """What ``put`` into the newest version of the table returns; None: another came first.

        Makes the table of ``data`` where there is none.
        """
        if not data.num_rows:
            return 0
        with self._writing, writing(self._uri, name):
            for _ in tries():
                dataset = self._tables.newest(name)
                if dataset is None:
                    if self._created(name, data):
                        return int(data.num_rows)
                    continue
                inserted = put(dataset, data)
                if inserted is not None:
                    return inserted
        raise self.too_busy(name)

    def replace(
        self,
        name: str,
        rows: pa.Table,
        key: tuple[str, ...],
        *,
        over: Any,
        removed: Sequence[str] = (),
    ) -> bool:
        """Insert or replace rows, and delete those with the keys ``removed``, in one commit.

        It rests on the version ``over`` of the table (None: there was no table). False, with
        nothing changed, where another commit has come since.
        """
        data = unique_rows(rows, key)
        with self._writing, writing(self._uri, name):
            if over is None:
                return self._created(name, data)
            keys = data.select(list(key))
            gone = pa.table({key[0]: list(removed)}, schema=keys.schema)
            both = pa.concat_tables([keys, gone])
            old = addresses_in(self._found(name, over, both, key, columns=[]))
            return committed(over, data, old)

    def remove(self, name: str, where: Mapping[str, Any]) -> int:
        """Delete the rows with these values; returns how many there were."""
        with self._writing, writing(self._uri, name):
            for _ in tries():
                dataset = self._tables.newest(name)
                with reading(self._uri, name):
                    there = NOWHERE if dataset is None else rows_where(dataset, where)
                if not len(there) or committed(dataset, dataset.schema.empty_table(), there):
                    return len(there)
        raise self.too_busy(name)

    def drop(self, name: str) -> None:
        """Remove a table with all its versions; nothing where there is none.

        Whoever looks meanwhile, or after a kill, finds it whole, without rows or not at all: rows
        go first, by a commit, and the files of a table without rows last.
        """
        with self._writing, writing(self._uri, name):
            for known in [known for known in self._known_keys if known[0] == name]:
                del self._known_keys[known]
            with contextlib.suppress(StoreError):  # a damaged table goes all the same
                for _ in tries():
                    dataset = self._tables.newest(name)
                    if dataset is None or emptied(dataset):
                        break
            self._tables.drop(name)

    def overwrite(self, name: str, reader: pa.RecordBatchReader) -> None:
        """Replace a table, its schema too, in one commit; what is read may be the old one."""
        with writing(self._uri, name):
            self._tables.overwrite(name, reader)

    def too_busy(self, name: str) -> StoreError:
        """The error of a write that other jobs came before again and again."""
        return StoreError(
            f"{self._uri}: other jobs write table {name!r} all the time: wait for one of them, "
            "then run the same command again; what was committed before is kept"
        )

    def _created(self, name: str, data: pa.Table) -> bool:
        return created(self._tables.place(name), data, storage_options(self._uri))

    def find(
        self, name: str, keys: pa.Table, *, columns: Sequence[str] | None = None, over: Any = None
    ) -> pa.Table | None:
        """The rows of a table whose columns of the names of ``keys`` are one of these.

        Of the version ``over``, or the newest; None where there is no table. ``columns``: these
        beside the keys, None: all.
        """
        with self._writing:
            # Not before: whoever waits here would come with a version that is no longer the newest.
            dataset = self._tables.newest(name) if over is None else over
            if dataset is None:
                return None
            key = tuple(keys.column_names)
            found = self._found(name, dataset, keys, key, columns=columns)
        return found.drop_columns([ADDRESS])

    def _found(
        self,
        name: str,
        dataset: Any,
        keys: pa.Table,
        key: tuple[str, ...],
        *,
        columns: Sequence[str] | None,
    ) -> pa.Table:
        known = self._known_keys.get((name, key))
        if known is None:
            known = self._known_keys[name, key] = KnownKeys(key)
        with reading(self._uri, name):
            return known.find(dataset, keys, columns)
