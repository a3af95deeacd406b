"""One LanceDB database: open and create it, append without duplicates, read, look up by id."""

import contextlib
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from taistore.contracts import (
    DEFAULT_ENCODER_KEY,
    REMOVED,
    STORE_VERSION,
    TABLES,
    VERSION_KEY,
)
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import StoreError
from taistore.labels import Label, LabelSet
from taistore.store.arrow import (
    READ_AHEAD_BYTES,
    Rows,
    filter_expression,
    unique_rows,
    vector_array,
)
from taistore.store.combination_rows import CombinationIndex
from taistore.store.lance_errors import VersionGoneError, reaching, reading, writing
from taistore.store.places import checked_uri, is_remote, require_conditional_put, storage_options
from taistore.store.rejects import Reject
from taistore.store.run_rows import RunRow
from taistore.store.writes.commits import (
    NOWHERE,
    committed,
    created,
    emptied,
    rows_where,
    rows_with,
    tries,
    without,
)
from taistore.store.writes.known_keys import KnownKeys

_ENCODER_ID = re.compile(r"[a-z0-9_]{1,120}")


class Store:
    """A store at a directory or object-store URI. Make one with :meth:`create` or :meth:`open`.

    Reading never changes it. Appending inserts the rows whose key is absent, in one commit, so a
    job that is killed and rerun, or many jobs at once, end with the same rows. Every write is a
    commit that counts only where no other came first (:mod:`taistore.store.writes.commits`), and
    what it costs does not grow with the table.
    """

    def __init__(self, uri: str, database: Any) -> None:
        self.uri = uri
        self._database = database
        self._known_keys: dict[str, KnownKeys] = {}
        self._writing = threading.Lock()

    @classmethod
    def create(cls, uri: str | Path, labels: LabelSet, *, default_encoder: str) -> "Store":
        """A new store for ``labels``; opening an equal one again is no error.

        ``default_encoder`` is the spec used where a command names none. Raises
        :class:`StoreError` when a store with other labels or another default encoder is there.
        """
        uri = _expanded(uri)
        if _has_labels(uri):
            store = cls.open(uri)
            if store.labels != labels:
                raise StoreError(f"{uri}: a store with other labels is here: choose another path=")
            if store.default_encoder != default_encoder:
                raise StoreError(
                    f"{uri}: this store's default encoder is {store.default_encoder!r}, not "
                    f"{default_encoder!r}: name it with encoder=, or choose another path="
                )
            return store
        schema = TABLES["labels"].schema()
        metadata = {**(schema.metadata or {}), DEFAULT_ENCODER_KEY: default_encoder.encode()}
        rows = pa.Table.from_pydict(
            {
                "label_id": list(range(len(labels))),
                "key": labels.keys,
                "name": [label.name for label in labels],
                "synonyms": [list(label.synonyms) for label in labels],
            },
            schema=schema.with_metadata(metadata),
        )
        _require_nothing_else(uri)
        if is_remote(uri):
            require_conditional_put(uri)
        with writing(uri, "labels"):
            store = cls(uri, _connected(uri))
            made = created(store._place("labels"), rows, storage_options(uri))
        # Another process may have made one at the same moment: of these labels or of others.
        return store if made else cls.create(uri, labels, default_encoder=default_encoder)

    @classmethod
    def open(cls, uri: str | Path, *, any_version: bool = False) -> "Store":
        """An existing store; :class:`StoreError` when there is none or its version differs.

        ``any_version`` is for migrations, which read what this taistore otherwise would not.
        """
        uri = _expanded(uri)
        if not _has_labels(uri):
            _require_nothing_else(uri)
            raise StoreError(
                f"{uri}: no taistore store here: make one with "
                f"'taistore init labels.txt --store {uri}'"
            )
        store = cls(uri, _connected(uri))
        if store.version != STORE_VERSION and not any_version:
            remedy = (
                "install a newer taistore"
                if store.version > STORE_VERSION
                else f"bring it up to date with 'taistore upgrade --store {uri}'"
            )
            raise StoreError(
                f"{uri}: the store has version {store.version}, this taistore reads "
                f"{STORE_VERSION}: {remedy}"
            )
        return store

    # --- what the store is about -----------------------------------------------------------

    @property
    def version(self) -> int:
        """Version of the contracts that its tables follow."""
        return int(self._label_metadata.get(VERSION_KEY, b"0"))

    @property
    def _label_metadata(self) -> dict[bytes, bytes]:
        return dict(self._table("labels").schema.metadata or {})

    @cached_property
    def labels(self) -> LabelSet:
        """The label set, in ``label_id`` order."""
        table = pa.concat_tables(map(_as_table, self.scan("labels"))).sort_by("label_id")
        return LabelSet(
            Label(row["key"], row["name"], tuple(row["synonyms"])) for row in table.to_pylist()
        )

    @cached_property
    def default_encoder(self) -> str:
        """Spec of the encoder that commands use unless they name one."""
        return self._label_metadata[DEFAULT_ENCODER_KEY].decode()

    def encoders(self) -> list[EncoderInfo]:
        """Every encoder that has been registered, in the order of their ids."""
        return [info for info in self.encoder_rows() if not info.spec.startswith(REMOVED)]

    def encoder_rows(self) -> list[EncoderInfo]:
        """The same, with those whose removal has begun and not ended: their spec says so."""
        rows = [row for batch in self.scan("encoders") for row in batch.to_pylist()]
        return [EncoderInfo(**row) for row in sorted(rows, key=lambda row: row["encoder_id"])]

    def encoder(self, encoder_id: str) -> EncoderInfo:
        """A registered encoder; raises :class:`StoreError` naming those that there are."""
        known = self.encoders()
        for info in known:
            if info.encoder_id == encoder_id:
                return info
        there = ", ".join(info.spec for info in known) or "none yet"
        raise StoreError(
            f"{self.uri}: holds no vectors of encoder {encoder_id!r} (there are: {there}): it was "
            "removed or never used: add them with 'taistore ingest-images' and 'taistore "
            "generate-texts', or with 'taistore ingest-vectors'"
        )

    def register_encoder(self, info: EncoderInfo) -> None:
        """Record an encoder before its first vectors are written; one that is there stays.

        Raises as :meth:`require_room_for` does.
        """
        row = {name: getattr(info, name) for name in TABLES["encoders"].schema().names}
        for _ in tries():
            newest = self._newest("encoders")
            self.require_room_for(info)
            if any(info.encoder_id == known.encoder_id for known in self.encoders()):
                return
            # Only where nobody came first: of two jobs that bring one name, one has to see it.
            if self.replace("encoders", [row], over=newest):
                return
        raise self._too_busy("encoders")

    def require_room_for(self, info: EncoderInfo) -> None:
        """Raise :class:`StoreError` where an encoder cannot have vectors of its own here.

        That is where imported vectors of its name have another dimension, or where its removal has
        begun.
        """
        if not _ENCODER_ID.fullmatch(info.encoder_id):
            raise StoreError(f"encoder id {info.encoder_id!r} may only hold a-z, 0-9 and _")
        for known in self.encoder_rows():
            if known.encoder_id == info.encoder_id and known.spec.startswith(REMOVED):
                raise StoreError(
                    f"{self.uri}: {info.spec} is being removed: 'taistore encoders rm {info.spec}' "
                    "brings that to its end"
                )
            if known.spec == info.spec and known.dim != info.dim and info.library == "vectors":
                raise StoreError(
                    f"{self.uri}: {info.spec} has vectors of {known.dim} dimensions, these have "
                    f"{info.dim}: choose another name=, or remove the others with "
                    f"'taistore encoders rm {info.spec}'"
                )

    # --- tables ----------------------------------------------------------------------------

    def table_name(self, kind: str, encoder_id: str | None = None) -> str:
        """``kind`` or ``kind__encoder_id``; raises ValueError where the two do not fit."""
        if TABLES[kind].per_encoder != (encoder_id is not None):
            raise ValueError(f"table {kind!r}: wrong use of encoder_id")
        if encoder_id is not None and not _ENCODER_ID.fullmatch(encoder_id):
            raise StoreError(f"encoder id {encoder_id!r} may only hold a-z, 0-9 and _")
        return kind if encoder_id is None else f"{kind}__{encoder_id}"

    def table_names(self) -> list[str]:
        """Names of all tables that exist."""
        # A job that was killed while it made a table leaves a folder without a version in it.
        return [name for name in self.listed_names() if self._newest(name) is not None]

    def listed_names(self) -> list[str]:
        """Names of all folders of tables, whatever state these are in."""
        names: list[str] = []
        with reaching(self.uri, "list the tables"):
            page = self._database.list_tables(limit=1000)
            names.extend(page.tables)
            while page.page_token:
                page = self._database.list_tables(page_token=page.page_token, limit=1000)
                names.extend(page.tables)
        return sorted(names)

    def has(self, kind: str, encoder_id: str | None = None) -> bool:
        """Whether the table exists; a missing table reads as an empty one."""
        return self._newest(self.table_name(kind, encoder_id)) is not None

    def _table(self, kind: str, encoder_id: str | None = None) -> Any:
        name = self.table_name(kind, encoder_id)
        with reading(self.uri, name):
            return self._database.open_table(name)

    def dataset(
        self, kind: str, encoder_id: str | None = None, *, version: int | None = None
    ) -> Any:
        """The table as a ``lance.LanceDataset``, for readers inside ``taistore.store``."""
        table = self._table(kind, encoder_id)
        with reading(self.uri, self.table_name(kind, encoder_id), version=version):
            dataset = table.to_lance()
            return dataset if version is None else dataset.checkout_version(version)

    def schema(self, kind: str, encoder_id: str | None = None) -> pa.Schema:
        """The contract of a table in this store."""
        dim = self.encoder(encoder_id).dim if encoder_id is not None else None
        return TABLES[kind].schema(dim)

    def count(self, kind: str, encoder_id: str | None = None) -> int:
        """Rows of a table; 0 where it does not exist yet."""
        if not self.has(kind, encoder_id):
            return 0
        table = self._table(kind, encoder_id)
        with reading(self.uri, self.table_name(kind, encoder_id)):
            return int(table.count_rows())

    def versions(self, kinds: Iterable[tuple[str, str | None]]) -> dict[str, int]:
        """Lance version of each table that exists, by table name: what a run has read."""
        return {
            self.table_name(kind, encoder_id): int(self._table(kind, encoder_id).version)
            for kind, encoder_id in kinds
            if self.has(kind, encoder_id)
        }

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
        data = unique_rows(self._as_rows(kind, rows, encoder_id), TABLES[kind].key)
        name = self.table_name(kind, encoder_id)
        if not data.num_rows:
            return 0
        with self._of_encoder(kind, encoder_id), self._writing, writing(self.uri, name):
            for _ in tries():
                dataset = self._newest(name)
                if dataset is None:
                    if created(self._place(name), data, storage_options(self.uri)):
                        return int(data.num_rows)
                    continue
                absent = self._absent(name, dataset, data, TABLES[kind].key)
                if not absent.num_rows or committed(dataset, absent):
                    return int(absent.num_rows)
        raise self._too_busy(name)

    def upsert(self, kind: str, rows: Rows, *, encoder_id: str | None = None) -> int:
        """Insert new rows and replace those whose key is there; returns how many were inserted."""
        key = TABLES[kind].key
        data = unique_rows(self._as_rows(kind, rows, encoder_id), key)
        name = self.table_name(kind, encoder_id)
        if not data.num_rows:
            return 0
        with self._of_encoder(kind, encoder_id), self._writing, writing(self.uri, name):
            for _ in tries():
                dataset = self._newest(name)
                if dataset is None:
                    if created(self._place(name), data, storage_options(self.uri)):
                        return int(data.num_rows)
                    continue
                with reading(self.uri, name):
                    _, old = rows_with(dataset, data.select(list(key)))
                if committed(dataset, data, old):
                    return int(data.num_rows) - len(old)
        raise self._too_busy(name)

    def replace(self, kind: str, rows: Rows, *, over: Any, removed: Sequence[str] = ()) -> bool:
        """Insert or replace rows, and delete those with the keys ``removed``, in one commit.

        It rests on the version ``over`` of the table, a ``lance.LanceDataset`` (None: there was no
        table). False, with nothing changed, where another commit has come since.
        """
        key = list(TABLES[kind].key)
        data = unique_rows(self._as_rows(kind, rows, None), TABLES[kind].key)
        name = self.table_name(kind)
        with self._writing, writing(self.uri, name):
            if over is None:
                return created(self._place(name), data, storage_options(self.uri))
            keys = data.select(key)
            gone = pa.table({key[0]: list(removed)}, schema=keys.schema)
            with reading(self.uri, name):
                _, old = rows_with(over, pa.concat_tables([keys, gone]))
            return committed(over, data, old)

    def remove(self, kind: str, where: Mapping[str, Any], *, encoder_id: str | None = None) -> int:
        """Delete the rows with these values, as in :meth:`scan`; returns how many there were."""
        name = self.table_name(kind, encoder_id)
        with self._of_encoder(kind, encoder_id), self._writing, writing(self.uri, name):
            for _ in tries():
                dataset = self._newest(name)
                with reading(self.uri, name):
                    there = NOWHERE if dataset is None else rows_where(dataset, where)
                if not len(there) or committed(dataset, dataset.schema.empty_table(), there):
                    return len(there)
        raise self._too_busy(name)

    def drop(self, kind: str, encoder_id: str) -> None:
        """Remove a table of an encoder with all its versions; nothing where there is none.

        Whoever looks meanwhile, or after a kill, finds it whole, without rows or not at all: rows
        go first, by a commit, and the files of a table without rows last.
        """
        name = self.table_name(kind, encoder_id)
        with self._writing, writing(self.uri, name):
            self._known_keys.pop(name, None)
            with contextlib.suppress(StoreError):  # a damaged table goes all the same
                for _ in tries():
                    dataset = self._newest(name)
                    if dataset is None or emptied(dataset):
                        break
            self._database.drop_table(name, ignore_missing=True)

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

    def _place(self, name: str) -> str:
        return f"{self.uri.rstrip('/')}/{name}.lance"

    def _newest(self, name: str) -> Any:
        """The table as it is now, as a ``lance.LanceDataset``; None where there is none."""
        with reading(self.uri, name):
            try:
                return self._database.open_table(name).to_lance()
            except ValueError as error:
                if f"table '{name}' was not found" in str(error).lower():
                    return None
                raise

    def _absent(self, name: str, dataset: Any, rows: pa.Table, key: tuple[str, ...]) -> pa.Table:
        known = self._known_keys.setdefault(name, KnownKeys(key))
        with reading(self.uri, name):
            known.follow(dataset)
            maybe = known.may_hold(rows)
            if not maybe.any():
                return rows
            there, _ = rows_with(dataset, rows.filter(pa.array(maybe)).select(list(key)))
        return without(rows, key, there)

    def _too_busy(self, name: str) -> StoreError:
        return StoreError(
            f"{self.uri}: other jobs write table {name!r} all the time: wait for one of them, then "
            "run the same command again; what was committed before is kept"
        )

    def overwrite(
        self,
        kind: str,
        batches: Iterable[pa.RecordBatch],
        schema: pa.Schema,
        *,
        encoder_id: str | None = None,
    ) -> None:
        """Replace a table, its schema too, in one commit; ``batches`` may be read from the old."""
        name = self.table_name(kind, encoder_id)
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        with writing(self.uri, name):
            self._database.create_table(name, reader, schema=schema, mode="overwrite")

    def _as_rows(self, kind: str, rows: Rows, encoder_id: str | None) -> pa.Table:
        schema = self.schema(kind, encoder_id)
        if isinstance(rows, pa.Table):
            return rows.select(schema.names).cast(schema)
        if isinstance(rows, Mapping):
            count = len(rows[schema.names[0]])
            absent = {f.name: [None] * count for f in schema if f.nullable and f.name not in rows}
            return pa.Table.from_pydict({**rows, **absent}, schema=schema)
        return pa.Table.from_pylist(list(rows), schema=schema)

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
            yield from scanner.to_batches()

    def missing(self, kind: str, ids: Sequence[str], *, encoder_id: str | None = None) -> list[str]:
        """Those of ``ids`` (first key column) that the table does not hold, in their order."""
        if not ids:
            return []
        key = TABLES[kind].key[0]
        there: set[Any] = set()
        for batch in self.scan(kind, columns=[key], encoder_id=encoder_id, where={key: list(ids)}):
            there.update(batch.column(0).to_pylist())
        return [i for i in dict.fromkeys(ids) if i not in there]

    def vectors(self, kind: str, ids: Sequence[str], *, encoder_id: str) -> NDArray[np.float16]:
        """Vectors [n, D] of ``text_vectors`` or ``image_vectors`` in the order of ``ids``.

        Raises :class:`StoreError` naming the first id that has none.
        """
        key = TABLES[kind].key[0]
        found = np.zeros((len(ids), self.encoder(encoder_id).dim), dtype=np.float16)
        place = {i: n for n, i in enumerate(ids)}
        seen = 0
        columns = [key, "vector"]
        for batch in self.scan(
            kind, columns=columns, encoder_id=encoder_id, where={key: list(ids)}
        ):
            rows = [place.pop(str(i)) for i in batch.column(0).to_pylist()]
            found[rows] = vector_array(batch.column(1))
            seen += len(rows)
        if place:
            raise StoreError(
                f"{self.uri}: {self.table_name(kind, encoder_id)} lacks {next(iter(place))!r}: "
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

    def combination_index(self) -> CombinationIndex:
        """All combinations of the store in compressed rows."""
        ids: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        counts: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
        labels: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        for batch in self.scan("combinations", batch_rows=65536):
            lists: Any = batch.column("label_ids")
            ids.append(batch.column("combination_id").to_numpy())
            counts.append(pc.list_value_length(lists).to_numpy().astype(np.int64))
            labels.append(lists.flatten().to_numpy())
        return CombinationIndex.build(
            np.concatenate(ids), np.concatenate(counts), np.concatenate(labels)
        )

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
        known = self.runs()
        finished = [run.run_id for run in known if run.status == "finished"]
        wanted = finished[-1] if run_id == "latest" and finished else run_id
        for run in known:
            if run.run_id == wanted:
                return run
        recent = (
            ", ".join(run.run_id for run in known[-3:]) or "none yet: 'taistore train' makes one"
        )
        raise StoreError(f"{self.uri}: no run {run_id!r} (latest: {recent})")

    def runs(self) -> list[RunRow]:
        """All runs, oldest first."""
        rows = [row for batch in self.scan("runs") for row in batch.to_pylist()]
        return sorted(map(RunRow.from_table, rows), key=lambda run: (run.created, run.run_id))


def _as_table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _expanded(uri: str | Path) -> str:
    text = checked_uri(str(uri))
    return text if is_remote(text) else str(Path(text).expanduser())


def _connected(uri: str) -> lancedb.DBConnection:
    with reaching(uri, "be opened"):
        return lancedb.connect(uri, storage_options=storage_options(uri))


def remote_table_names(uri: str) -> list[str]:
    """Names of the tables at the URI of an object store, whatever state these are in."""
    return Store(uri, _connected(uri)).listed_names()


def _require_nothing_else(uri: str) -> None:
    """Without labels there is no store; raise where other tables say that there was one."""
    if not is_remote(uri) and not Path(uri).is_dir():
        return
    if others := Store(uri, _connected(uri)).table_names():
        raise StoreError(
            f"{uri}: cannot read table 'labels': its files are missing, though table "
            f"{others[0]!r} is there: 'taistore verify --store {uri}' says what mends it"
        )


def _has_labels(uri: str) -> bool:
    if is_remote(uri):
        store = Store(uri, _connected(uri))
        return "labels" in store.listed_names() and store._newest("labels") is not None
    # Connecting creates the directory, so a mistyped path must be caught before.
    try:
        return (Path(uri) / "labels.lance" / "_versions").is_dir() and (
            Store(uri, _connected(uri))._newest("labels") is not None
        )
    except OSError as error:
        raise StoreError(
            f"{uri}: cannot be reached ({error.strerror}): check the path and its permissions"
        ) from error
