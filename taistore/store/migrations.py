"""Bring an older store up to date: numbered steps, each safe to repeat.

A step changes tables; the store's version, which lies in the metadata of the table ``labels``, is
raised after it. A migration that was killed is therefore done again, and ends the same.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from lance import batch_udf

from taistore.contracts import PRIMARY_KEY, STORE_VERSION, TABLES, VERSION_KEY
from taistore.errors import StoreError
from taistore.progress import Progress, no_progress
from taistore.store.arrow import READ_AHEAD_BYTES
from taistore.store.lance_errors import writing
from taistore.store.store import Store
from taistore.store.tables.table_names import kind_and_encoder


@dataclass(frozen=True, slots=True)
class Migration:
    """The step to version ``to``: what it does, for people, and how."""

    to: int
    what: str
    apply: Callable[[Store], None]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What :func:`upgrade` did: versions before and after, and the steps in between."""

    before: int
    after: int
    steps: tuple[str, ...]


def upgrade(uri: str | Path, *, progress: Progress = no_progress) -> Upgrade:
    """Lead a store to this taistore's version; one that is there already stays untouched.

    Raises :class:`StoreError` where there is no store, where it comes from a newer taistore, or
    where it cannot be written. No other job may use the store meanwhile.
    """
    store = Store.open(uri, any_version=True)
    before = store.version
    if before > STORE_VERSION:
        raise StoreError(
            f"{store.uri}: the store has version {before}, this taistore knows {STORE_VERSION}: "
            "install a newer taistore"
        )
    due = [migration for migration in MIGRATIONS if migration.to > before]
    if [migration.to for migration in due] != list(range(before + 1, STORE_VERSION + 1)):
        raise StoreError(
            f"{store.uri}: no way leads from version {before} to {STORE_VERSION}: build it anew"
        )
    if due:
        with progress("upgrade", total=len(due), unit="step") as bar:
            for migration in due:
                migration.apply(store)
                _set_version(store, migration.to)
                bar.advance()
    return Upgrade(before, STORE_VERSION, tuple(migration.what for migration in due))


def _set_version(store: Store, version: int) -> None:
    """Note the version in every table, ``labels`` last: that one counts."""
    tables = [(kind, encoder_id) for kind, encoder_id in _tables(store) if kind != "labels"]
    for kind, encoder_id in [*tables, ("labels", None)]:
        with writing(store.uri, store.table_name(kind, encoder_id)):
            dataset = store.dataset(kind, encoder_id)
            if (dataset.schema.metadata or {}).get(VERSION_KEY) != str(version).encode():
                dataset.update_schema_metadata({VERSION_KEY.decode(): str(version)})


def _tables(store: Store) -> list[tuple[str, str | None]]:
    """Kind and encoder of every table of ours."""
    parts = map(kind_and_encoder, store.table_names())
    return [(kind, encoder_id) for kind, encoder_id in parts if kind in TABLES]


# --- version 2 ---------------------------------------------------------------------------------


def _centroids_in_float32(store: Store) -> None:
    for kind, encoder_id in _tables(store):
        if kind != "centroids":
            continue
        old = store.dataset(kind, encoder_id)
        if "versions" not in old.schema.names:
            schema = _centroids_2(old.schema.field("vector").type.list_size)
            store.overwrite(kind, _converted(old, schema), schema, encoder_id=encoder_id)


def _centroids_2(dim: int) -> pa.Schema:
    """The table as version 2 had it, whatever later versions make of it."""
    key = {PRIMARY_KEY: b"true"}
    fields: list[pa.Field[Any]] = [
        pa.field("kind", pa.string(), nullable=False, metadata=key),
        pa.field("id", pa.int64(), nullable=False, metadata=key),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("dispersion", pa.float32()),
        pa.field("versions", pa.string()),
        pa.field("vector", pa.list_(pa.float32(), dim), nullable=False),
    ]
    return pa.schema(fields, metadata={VERSION_KEY: b"2"})


def _converted(old: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for batch in old.scanner(io_buffer_size=READ_AHEAD_BYTES).to_batches():
        columns = {name: batch.column(name) for name in ("kind", "id", "count", "source")}
        columns["dispersion"] = pa.nulls(batch.num_rows, pa.float32())
        columns["versions"] = pa.nulls(batch.num_rows, pa.string())
        columns["vector"] = batch.column("vector").cast(schema.field("vector").type)
        yield pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


# --- version 3 ---------------------------------------------------------------------------------


def _requests_of_texts(store: Store) -> None:
    if not store.has("texts"):
        return
    with writing(store.uri, "texts"):
        dataset = store.dataset("texts")
        new = [field for field in _TEXTS_3 if field.name not in dataset.schema.names]
        if new:
            dataset.add_columns(new)


_TEXTS_3: "list[pa.Field[Any]]" = [
    pa.field("request_id", pa.string()),
    pa.field("temperature", pa.float32()),
    pa.field("attempt", pa.int32()),
    pa.field("mentions", pa.list_(pa.field("item", pa.int32(), nullable=False))),
]
"""The columns that version 3 adds to ``texts``: empty for texts that no model was asked for."""


# --- version 4 ---------------------------------------------------------------------------------


def _requests_of_all_writers(store: Store) -> None:
    """Template texts get the id of their request, rejects their writer; both as models have."""
    if store.has("rejects"):
        _writers_of_rejects(store)
    if not store.has("texts"):
        return
    old = store.dataset("texts")
    unnamed = pc.field("request_id").is_null() & (pc.field("writer") == _TEMPLATE)
    if old.scanner(columns=["text_id"], filter=unnamed, limit=1).to_table().num_rows:
        store.overwrite("texts", _with_requests(old), old.schema)


def _with_requests(old: Any) -> Iterator[pa.RecordBatch]:
    place = old.schema.names.index("request_id")
    for batch in old.scanner(io_buffer_size=READ_AHEAD_BYTES).to_batches():
        ids = [row["request_id"] or _template_request(row) for row in batch.to_pylist()]
        yield batch.set_column(place, old.schema.field(place), pa.array(ids, pa.string()))


def _template_request(row: dict[str, Any]) -> str | None:
    if row["writer"] != _TEMPLATE:
        return None
    asked = (row["model"], row["seed"], row["instruction"] or "", row["turn"])
    return f"{_template_key(row['combination_id'], *asked)}.0"


def _template_key(combination_id: int, model: str, seed: int, instruction: str, turn: int) -> str:
    """What version 4 makes of such a request, whatever later versions do."""
    settings = repr((model, _TEMPLATE, seed, instruction, turn)).encode()
    content = combination_id.to_bytes(8, "big", signed=True) + settings
    digest = hashlib.blake2b(content, digest_size=8).hexdigest()
    return f"{combination_id & (1 << 64) - 1:016x}{digest}"


def _writers_of_rejects(store: Store) -> None:
    old = store.dataset("rejects")
    if "writer" in old.schema.names:
        return
    models = _writers_with_requests(store)
    model = models.pop() if len(models) == 1 else None
    rows = [
        _reject_4(row, model)
        for batch in old.scanner(io_buffer_size=READ_AHEAD_BYTES).to_batches()
        for row in batch.to_pylist()
    ]
    schema = old.schema.append(pa.field("writer", pa.string()))
    store.overwrite("rejects", pa.Table.from_pylist(rows, schema=schema).to_batches(), schema)


def _reject_4(row: dict[str, Any], model: str | None) -> dict[str, Any]:
    """A reject with its writer; the only model that wrote texts is taken to have written these."""
    if row["job"] == "ingest-texts":
        return {**row, "writer": "captions"}
    if row["job"] != "generate-texts":
        return {**row, "writer": None}
    template = _TEMPLATE_REJECT.fullmatch(row["uri"])
    if template is None:
        return {**row, "writer": model}
    combination_id, turn, seed = map(int, template.groups())
    return {
        **row,
        "uri": _template_key(combination_id, "v1", seed, "", turn),
        "writer": _TEMPLATE,
    }


def _writers_with_requests(store: Store) -> set[str]:
    if not store.has("texts"):
        return set()
    asked = store.dataset("texts").scanner(
        columns=["writer"], filter=pc.field("request_id").is_valid()
    )
    return {str(w) for batch in asked.to_batches() for w in batch.column(0).unique().to_pylist()}


_TEMPLATE = "template"
_TEMPLATE_REJECT = re.compile(r"combination (-?\d+) turn (\d+) seed (\d+)")


# --- version 5 ---------------------------------------------------------------------------------


def _further_paths_of_images(store: Store) -> None:
    if not store.has("images"):
        return
    with writing(store.uri, "images"):
        dataset = store.dataset("images")
        if _OTHER_URIS.name not in dataset.schema.names:
            dataset.add_columns([_OTHER_URIS])


_OTHER_URIS: "pa.Field[Any]" = pa.field("other_uris", pa.list_(pa.string()))
"""Paths with the content of an image besides its ``uri``: none known of what was there before."""


# --- version 6 ---------------------------------------------------------------------------------


def _labels_that_grow(store: Store) -> None:
    """All labels came first and are in use; complete images are about these."""
    with writing(store.uri, "labels"):
        dataset = store.dataset("labels")
        labels, there = int(dataset.count_rows()), set(dataset.schema.names)
        first = {"addition": "CAST(0 AS INT)", "retired": "FALSE"}
        if new := {name: value for name, value in first.items() if name not in there}:
            dataset.add_columns(new)
        if _MERGED.name not in there:
            dataset.add_columns([_MERGED])
    if not store.has("images"):
        return
    with writing(store.uri, "images"):
        dataset = store.dataset("images")
        if "covered" not in dataset.schema.names:
            dataset.add_columns(_covering(labels), read_columns=["complete"])


_MERGED: "pa.Field[Any]" = pa.field("merged_into", pa.int32())


def _covering(labels: int) -> Any:
    """Makes the column ``covered``: so many labels where an image's labels are complete."""
    schema = pa.schema([pa.field("covered", pa.int32())])

    @batch_udf(output_schema=schema)
    def covered(rows: pa.RecordBatch) -> pa.RecordBatch:
        counts = pc.if_else(rows.column("complete"), labels, 0).cast(pa.int32())
        return pa.RecordBatch.from_arrays([counts], schema=schema)

    return covered


MIGRATIONS = (
    Migration(2, "centroids in float32, with dispersion and versions", _centroids_in_float32),
    Migration(3, "texts with the request that a model answered", _requests_of_texts),
    Migration(4, "requests of template texts, rejects with writer", _requests_of_all_writers),
    Migration(5, "further paths of an image's content", _further_paths_of_images),
    Migration(
        6, "labels that grow, and what an image's complete labels are about", _labels_that_grow
    ),
)
"""Every step, in order; one for each version after the first."""
