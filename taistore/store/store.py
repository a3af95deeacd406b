"""One LanceDB database: open and create it, append without duplicates, read, look up by id."""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.contracts import DEFAULT_ENCODER_KEY, REMOVED, TABLES, VERSION_KEY
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import StoreError
from taistore.labels import LabelSet
from taistore.store.arrow import (
    READ_AHEAD_BYTES,
    Rows,
    filter_expression,
    table_of,
    vector_array,
    vectors_by_id,
)
from taistore.store.combination_rows import CombinationIndex
from taistore.store.lance_errors import VersionGoneError, reading
from taistore.store.places import checked_uri, require_folder
from taistore.store.rejects import Reject
from taistore.store.run_rows import RunRow, run_named
from taistore.store.tables.encoder_table import (
    encoder_infos,
    encoder_named,
    require_room,
)
from taistore.store.tables.label_view import LISTS, LabelView, StoredLabel
from taistore.store.tables.labels_table import (
    has_labels,
    make_labels,
    require_nothing_else,
    require_version,
)
from taistore.store.tables.lance_tables import LanceTables
from taistore.store.tables.table_names import table_name
from taistore.store.writes.commits import tries
from taistore.store.writes.table_writer import TableWriter


class Store:
    """A store at a directory or object-store URI. Make one with :meth:`create` or :meth:`open`.

    Reading never changes it. Appending inserts the rows whose key is absent, in one commit, so a
    job that is killed and rerun, or many jobs at once, end with the same rows. Every write is a
    commit that counts only where no other came first (:mod:`taistore.store.writes.commits`), and
    what it costs does not grow with the table.
    """

    def __init__(self, tables: LanceTables) -> None:
        self.uri = tables.uri
        self._tables = tables
        self._writer = TableWriter(tables)

    @classmethod
    def create(cls, uri: str | Path, labels: LabelSet, *, default_encoder: str) -> "Store":
        """A new store for ``labels``; opening an equal one again is no error.

        ``default_encoder`` is the spec used where a command names none. Raises
        :class:`StoreError` when a store with other labels or another default encoder is there.
        """
        uri = checked_uri(uri)
        if not has_labels(uri) and make_labels(uri, labels, default_encoder=default_encoder):
            return cls(LanceTables(uri))
        # It was there, or another process made one at the same moment: of these labels or others.
        store = cls.open(uri)
        store._require_labels(labels)
        store.require_default_encoder(default_encoder)
        return store

    @classmethod
    def find(cls, uri: str | Path) -> "Store | None":
        """The store that is there, None where none is but one can be made.

        Raises :class:`StoreError` where something else is in the way.
        """
        uri = checked_uri(uri)
        if not has_labels(uri):
            require_folder(uri)
            require_nothing_else(uri)
            return None
        return cls.open(uri)

    def require_default_encoder(self, spec: str) -> None:
        """Raise :class:`StoreError` where the encoder that commands use is another one."""
        if self.default_encoder != spec:
            raise StoreError(
                f"{self.uri}: this store's default encoder is {self.default_encoder!r}, not "
                f"{spec!r}: give its own as encoder=, or choose another path="
            )

    def _require_labels(self, labels: LabelSet) -> None:
        if self.labels != labels:
            raise StoreError(
                f"{self.uri}: a store with other labels is here "
                f"({self.labels.differences(labels)}): 'taistore labels' changes those of a store, "
                "or choose another path=, where photos are encoded anew"
            )

    @classmethod
    def open(cls, uri: str | Path, *, any_version: bool = False) -> "Store":
        """An existing store; :class:`StoreError` when there is none or its version differs.

        ``any_version`` is for migrations, which read what this taistore otherwise would not.
        """
        uri = checked_uri(uri)
        if not has_labels(uri):
            require_nothing_else(uri)
            raise StoreError(
                f"{uri}: no taistore store here: make one with "
                f"'taistore init labels.txt --store {uri}'"
            )
        store = cls(LanceTables(uri))
        if not any_version:
            require_version(uri, store.version)
        return store

    # --- what the store is about -----------------------------------------------------------

    @property
    def version(self) -> int:
        """Version of the contracts that its tables follow."""
        return int(self._label_metadata.get(VERSION_KEY, b"0"))

    @property
    def _label_metadata(self) -> dict[bytes, bytes]:
        return dict(self._tables.dataset("labels").schema.metadata or {})

    @property
    def labels(self) -> LabelSet:
        """The labels that this store is read with: label n is column n of all that is read.

        Those in use, in the order in which they came, unless :meth:`seen_with` chose others.
        """
        return self.view.labels

    @cached_property
    def view(self) -> LabelView:
        """How the labels lie to those of the tables."""
        return LabelView.of(
            self.stored_labels, [row.label_id for row in self.stored_labels if not row.retired]
        )

    @cached_property
    def stored_labels(self) -> tuple[StoredLabel, ...]:
        """All labels that the store ever had, by id, as they were when first asked for."""
        rows = [StoredLabel.of(row) for batch in self.scan("labels") for row in batch.to_pylist()]
        return tuple(sorted(rows, key=lambda row: row.label_id))

    def seen_with(self, keys: Iterable[str]) -> "Store":
        """The same store, read with the labels of these keys, which may be retired ones.

        Raises :class:`StoreError` for a key that no label ever had.
        """
        by_key = {row.label.key: row.label_id for row in self.stored_labels}
        wanted = list(keys)
        if wanted == self.labels.keys:
            return self
        for key in wanted:
            if key not in by_key:
                raise StoreError(
                    f"{self.uri}: has no label {key!r:.80}: 'taistore labels' lists them, and "
                    "'taistore labels add' adds one"
                )
        return self._seen(LabelView.of(self.stored_labels, [by_key[key] for key in wanted]))

    def by_id(self) -> "Store":
        """The same store with all labels that it ever had: columns are ids, and nothing is hidden.

        For what reads rows to write them again, and would lose what it does not see.
        """
        if self.view.is_whole:
            return self
        whole = LabelView.of(
            [replace(row, merged_into=None) for row in self.stored_labels],
            range(len(self.stored_labels)),
        )
        return self._seen(whole)

    def _seen(self, view: LabelView) -> "Store":
        other = copy.copy(self)
        other.__dict__["view"] = view
        return other

    def forget_labels(self) -> None:
        """Read the labels anew when they are next asked for: this process has changed them."""
        for name in ("view", "stored_labels"):
            self.__dict__.pop(name, None)

    @cached_property
    def default_encoder(self) -> str:
        """Spec of the encoder that commands use unless they name one."""
        return self._label_metadata[DEFAULT_ENCODER_KEY].decode()

    def encoders(self) -> list[EncoderInfo]:
        """Every encoder that has been registered, in the order of their ids."""
        return [info for info in self.encoder_rows() if not info.spec.startswith(REMOVED)]

    def encoder_rows(self) -> list[EncoderInfo]:
        """The same, with those whose removal has begun and not ended: their spec says so."""
        return encoder_infos(self.scan("encoders"))

    def encoder(self, encoder_id: str) -> EncoderInfo:
        """A registered encoder; raises :class:`StoreError` naming those that there are."""
        return encoder_named(encoder_id, self.encoders(), uri=self.uri)

    def register_encoder(self, info: EncoderInfo) -> None:
        """Record an encoder before its first vectors are written; one that is there stays.

        Raises as :meth:`require_room_for` does.
        """
        row = {name: getattr(info, name) for name in TABLES["encoders"].schema().names}
        for _ in tries():
            newest = self._tables.newest("encoders")
            self.require_room_for(info)
            if any(info.encoder_id == known.encoder_id for known in self.encoders()):
                return
            # Only where nobody came first: of two jobs that bring one name, one has to see it.
            if self.replace("encoders", [row], over=newest):
                return
        raise self._writer.too_busy("encoders")

    def require_room_for(self, info: EncoderInfo) -> None:
        """Raise :class:`StoreError` where an encoder cannot have vectors of its own here.

        That is where imported vectors of its name have another dimension, or where its removal has
        begun.
        """
        require_room(info, self.encoder_rows(), uri=self.uri)

    # --- tables ----------------------------------------------------------------------------

    def table_name(self, kind: str, encoder_id: str | None = None) -> str:
        """``kind`` or ``kind__encoder_id``; raises ValueError where the two do not fit."""
        return table_name(kind, encoder_id)

    def table_names(self) -> list[str]:
        """Names of all tables that exist."""
        return self._tables.names()

    def has(self, kind: str, encoder_id: str | None = None) -> bool:
        """Whether the table exists; a missing table reads as an empty one."""
        return self._tables.newest(self.table_name(kind, encoder_id)) is not None

    def dataset(
        self, kind: str, encoder_id: str | None = None, *, version: int | None = None
    ) -> Any:
        """The table as a ``lance.LanceDataset``, for readers inside ``taistore.store``."""
        return self._tables.dataset(self.table_name(kind, encoder_id), version=version)

    def schema(self, kind: str, encoder_id: str | None = None) -> pa.Schema:
        """The contract of a table in this store."""
        dim = self.encoder(encoder_id).dim if encoder_id is not None else None
        return TABLES[kind].schema(dim)

    def count(self, kind: str, encoder_id: str | None = None, *, version: int | None = None) -> int:
        """Rows of a table, at a version of it; 0 where it does not exist yet."""
        dataset = self._tables.newest(self.table_name(kind, encoder_id))
        if dataset is None:
            return 0
        if version is not None:
            dataset = self.dataset(kind, encoder_id, version=version)
        with reading(self.uri, self.table_name(kind, encoder_id)):
            return int(dataset.count_rows())

    def versions(self, kinds: Iterable[tuple[str, str | None]]) -> dict[str, int]:
        """Lance version of each table that exists, by table name: what a run has read."""
        names = [self.table_name(kind, encoder_id) for kind, encoder_id in kinds]
        newest = {name: self._tables.newest(name) for name in names}
        return {name: int(table.version) for name, table in newest.items() if table is not None}

    def has_version(self, kind: str, version: int, *, encoder_id: str | None = None) -> bool:
        """Whether a table can still be read as it was then."""
        try:
            self.dataset(kind, encoder_id, version=version)
        except VersionGoneError:
            return False
        return True

    # --- writing ---------------------------------------------------------------------------

    def append(self, kind: str, rows: Rows, *, encoder_id: str | None = None) -> int:
        """Insert the rows whose key is absent, in one commit; returns how many were inserted."""
        data = self.view.written(kind, table_of(rows, self.schema(kind, encoder_id)))
        with self._of_encoder(kind, encoder_id):
            return self._writer.insert(self.table_name(kind, encoder_id), data, TABLES[kind].key)

    def upsert(self, kind: str, rows: Rows, *, encoder_id: str | None = None) -> int:
        """Insert new rows and replace those whose key is there; returns how many were inserted."""
        data = self.view.written(kind, table_of(rows, self.schema(kind, encoder_id)))
        with self._of_encoder(kind, encoder_id):
            return self._writer.upsert(self.table_name(kind, encoder_id), data, TABLES[kind].key)

    def replace(self, kind: str, rows: Rows, *, over: Any, removed: Sequence[str] = ()) -> bool:
        """Insert or replace rows, and delete those with the keys ``removed``, in one commit.

        It rests on the version ``over`` of the table, a ``lance.LanceDataset`` (None: there was no
        table). False, with nothing changed, where another commit has come since.
        """
        data, key = self.view.written(kind, table_of(rows, self.schema(kind))), TABLES[kind].key
        return self._writer.replace(self.table_name(kind), data, key, over=over, removed=removed)

    def remove(self, kind: str, where: Mapping[str, Any], *, encoder_id: str | None = None) -> int:
        """Delete the rows with these values, as in :meth:`scan`; returns how many there were."""
        with self._of_encoder(kind, encoder_id):
            return self._writer.remove(self.table_name(kind, encoder_id), where)

    def drop(self, kind: str, encoder_id: str) -> None:
        """Remove a table of an encoder with all its versions; nothing where there is none.

        Whoever looks meanwhile, or after a kill, finds it whole, without rows or not at all.
        """
        self._writer.drop(self.table_name(kind, encoder_id))

    @contextlib.contextmanager
    def _of_encoder(self, kind: str, encoder_id: str | None) -> Iterator[None]:
        """See after a commit that the encoder is still there; else undo it and raise StoreError.

        What is committed just behind a removal would leave a table of no encoder, or bring back
        the manifest of one whose files are gone.
        """
        yield
        if encoder_id is not None and all(i.encoder_id != encoder_id for i in self.encoders()):
            self.drop(kind, encoder_id)
            self.encoder(encoder_id)

    def overwrite(
        self,
        kind: str,
        batches: Iterable[pa.RecordBatch],
        schema: pa.Schema,
        *,
        encoder_id: str | None = None,
    ) -> None:
        """Replace a table, its schema too, in one commit; ``batches`` may be read from the old."""
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        self._writer.overwrite(self.table_name(kind, encoder_id), reader)

    def reject(self, job: str, rejects: Iterable[Reject]) -> None:
        """Set items of one job aside; a rerun replaces them."""
        now = datetime.now(UTC)
        self.upsert("rejects", [{"job": job, **asdict(row), "when": now} for row in rejects])

    def clear_rejects(self, job: str, uris: Sequence[str]) -> None:
        """Forget earlier rejects of these items, which have succeeded since."""
        self.remove("rejects", {"job": job, "uri": list(uris)})

    # --- reading ---------------------------------------------------------------------------

    def scan(
        self,
        kind: str,
        *,
        columns: Sequence[str] | None = None,
        encoder_id: str | None = None,
        where: Mapping[str, Any] | None = None,
        batch_rows: int = 4096,
        version: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Stream a table in bounded memory; nothing where the table does not exist.

        ``where`` maps a column to the value, or list of values, that it must have; values are
        passed as Arrow scalars, never as query text.
        """
        if not self.has(kind, encoder_id):
            return
        scanner = self.dataset(kind, encoder_id, version=version).scanner(
            columns=list(columns) if columns is not None else None,
            filter=filter_expression(where) if where else None,
            batch_size=batch_rows,
            io_buffer_size=READ_AHEAD_BYTES,
        )
        with reading(self.uri, self.table_name(kind, encoder_id)):
            if kind not in LISTS:
                yield from scanner.to_batches()
                return
            for batch in scanner.to_batches():
                yield self.view.read(kind, batch)

    def look_up(
        self,
        kind: str,
        column: str,
        values: Sequence[Any],
        *,
        columns: Sequence[str] | None = None,
        encoder_id: str | None = None,
        over: Any = None,
    ) -> pa.Table:
        """The rows with one of these values of a column, for a job that asks again and again.

        The first question reads that column; what the others cost does not grow with the table.
        ``columns`` are those beside it (None: all), ``over`` the version (a
        ``lance.LanceDataset``) to look at, None: the newest.
        """
        schema = TABLES[kind].schema(0 if encoder_id is not None else None)
        keys = pa.table({column: pa.array(values, schema.field(column).type)})
        name = self.table_name(kind, encoder_id)
        found = self._writer.find(name, keys, columns=columns, over=over)
        if found is not None:
            return self.view.read_table(kind, found)
        names = schema.names if columns is None else dict.fromkeys([column, *columns])
        return pa.schema([schema.field(name) for name in names]).empty_table()

    def missing(
        self,
        kind: str,
        ids: Sequence[str],
        *,
        encoder_id: str | None = None,
        single: bool = False,
    ) -> list[str]:
        """Those of ``ids`` (first key column) that the table does not hold, in their order.

        ``single``: few questions follow, so that the column need not be read as
        :meth:`look_up` does; the table's index answers.
        """
        if not ids:
            return []
        key = TABLES[kind].key[0]
        if single:
            found = self.scan(kind, columns=[key], encoder_id=encoder_id, where={key: list(ids)})
            there = {one for batch in found for one in batch.column(0).to_pylist()}
        else:
            table = self.look_up(kind, key, ids, columns=[], encoder_id=encoder_id)
            there = set(table.column(key).to_pylist())
        return [i for i in dict.fromkeys(ids) if i not in there]

    def vectors(self, kind: str, ids: Sequence[str], *, encoder_id: str) -> NDArray[np.float16]:
        """Vectors [n, D] of ``text_vectors`` or ``image_vectors`` in the order of ``ids``.

        Raises :class:`StoreError` naming the first id that has none.
        """
        key = TABLES[kind].key[0]
        batches = self.scan(
            kind, columns=[key, "vector"], encoder_id=encoder_id, where={key: list(ids)}
        )
        found, missing = vectors_by_id(batches, ids, dim=self.encoder(encoder_id).dim)
        if missing is not None:
            raise StoreError(
                f"{self.uri}: {self.table_name(kind, encoder_id)} lacks {missing!r}: "
                "ingest it again with this encoder"
            )
        return found

    def vectors_at(
        self,
        kind: str,
        rows_B: NDArray[np.int64],
        *,
        encoder_id: str,
        version: int | None = None,
    ) -> NDArray[np.float16]:
        """Vectors [B, D] at these positions of a scan of ``text_vectors`` or ``image_vectors``."""
        dataset = self.dataset(kind, encoder_id, version=version)
        with reading(self.uri, self.table_name(kind, encoder_id)):
            found = dataset.take(rows_B.tolist(), columns=["vector"])
        return vector_array(pa.chunked_array(found.column(0)).combine_chunks())

    def rows_at(
        self,
        kind: str,
        rows_B: NDArray[np.int64],
        columns: Sequence[str],
        *,
        version: int | None = None,
    ) -> list[dict[str, Any]]:
        """Columns of the rows at these positions of a scan, in their order."""
        dataset = self.dataset(kind, version=version)
        with reading(self.uri, self.table_name(kind)):
            found: list[dict[str, Any]] = dataset.take(
                rows_B.tolist(), columns=list(columns)
            ).to_pylist()
        return found

    def combination_index(self) -> CombinationIndex:
        """All combinations of the store in compressed rows."""
        return CombinationIndex.read(self.scan("combinations", batch_rows=65_536))

    # --- runs ------------------------------------------------------------------------------

    def record_run(self, run: RunRow) -> None:
        """Insert or replace a row of ``runs``."""
        self.upsert("runs", [run.to_table()])

    def forget_run(self, run_id: str) -> None:
        """Delete a row of ``runs``; nothing where there is none."""
        self.remove("runs", {"run_id": run_id})

    def run(self, run_id: str) -> RunRow:
        """A recorded run; ``latest`` is the last finished one.

        Raises :class:`StoreError` naming the latest runs where there is no such run.
        """
        return run_named(run_id, self.runs(), uri=self.uri)

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        rows = [row for batch in self.scan("runs") for row in batch.to_pylist()]
        return sorted(map(RunRow.from_table, rows), key=lambda run: (run.created, run.run_id))
