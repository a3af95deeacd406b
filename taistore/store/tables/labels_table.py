"""The table ``labels``, which makes a place a store: whether it is there, and making it."""

from pathlib import Path

import pyarrow as pa

from taistore.contracts import DEFAULT_ENCODER_KEY, STORE_VERSION, TABLES
from taistore.errors import StoreError
from taistore.labels import LabelSet
from taistore.store.lance_errors import writing
from taistore.store.places import is_remote, require_conditional_put, storage_options
from taistore.store.tables.lance_tables import LanceTables
from taistore.store.writes.commits import created

NAME = "labels"


def has_labels(uri: str) -> bool:
    """Whether there is a store at a place; :class:`StoreError` where nobody can say."""
    if is_remote(uri):
        tables = LanceTables(uri)
        return NAME in tables.listed() and tables.newest(NAME) is not None
    try:
        return (Path(uri) / f"{NAME}.lance" / "_versions").is_dir() and (
            LanceTables(uri).newest(NAME) is not None
        )
    except OSError as error:
        raise StoreError(
            f"{uri}: cannot be reached ({error.strerror}): check the path and its permissions"
        ) from error


def require_nothing_else(uri: str) -> None:
    """Without labels there is no store; raise where other tables say that there was one."""
    if not is_remote(uri) and not Path(uri).is_dir():
        return
    # Labels come first: where they are there by now, another process has just made the store.
    if (others := LanceTables(uri).names()) and not has_labels(uri):
        raise StoreError(
            f"{uri}: cannot read table 'labels': its files are missing, though table "
            f"{others[0]!r} is there: 'taistore verify --store {uri}' says what mends it"
        )


def require_version(uri: str, version: int) -> None:
    """Raise :class:`StoreError` where a store's version is not the one of this taistore."""
    if version == STORE_VERSION:
        return
    remedy = (
        "install a newer taistore"
        if version > STORE_VERSION
        else f"bring it up to date with 'taistore upgrade --store {uri}'"
    )
    raise StoreError(
        f"{uri}: the store has version {version}, this taistore reads {STORE_VERSION}: {remedy}"
    )


def make_labels(uri: str, labels: LabelSet, *, default_encoder: str) -> bool:
    """Make the table, and so the store; False where another process was first."""
    schema = TABLES[NAME].schema()
    metadata = {**(schema.metadata or {}), DEFAULT_ENCODER_KEY: default_encoder.encode()}
    rows = pa.Table.from_pydict(
        {
            "label_id": list(range(len(labels))),
            "key": labels.keys,
            "name": [label.name for label in labels],
            "synonyms": [list(label.synonyms) for label in labels],
            "addition": [0] * len(labels),
            "retired": [False] * len(labels),
            "merged_into": [None] * len(labels),
        },
        schema=schema.with_metadata(metadata),
    )
    require_nothing_else(uri)
    if is_remote(uri):
        require_conditional_put(uri)
    with writing(uri, NAME):
        return created(LanceTables(uri).place(NAME), rows, storage_options(uri))
