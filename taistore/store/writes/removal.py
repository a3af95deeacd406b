"""Rows that go for good: by their ids or addresses, or because what they belong to is gone."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.contracts import TABLES
from taistore.errors import StoreError
from taistore.store.lance_errors import writing
from taistore.store.store import Store
from taistore.store.tables.table_names import kind_and_encoder
from taistore.store.writes.commits import Addresses, committed, tries
from taistore.store.writes.known_keys import column_hashes, is_among, key_hashes

_BLOCK = 4096

ROWS_AT_ONCE = 2**14
"""Rows that are removed by their addresses in one commit, however many there are."""


def image_tables(store: Store) -> list[str]:
    """Every table with a row an image, but ``images`` itself."""
    kinds = {kind for kind, table in TABLES.items() if table.key == ("image_id",)}
    named = {name: kind_and_encoder(name) for name in store.table_names()}
    return [name for name, (kind, encoder_id) in named.items() if encoder_id and kind in kinds]


def remove_vectors(store: Store, image_ids: Sequence[str], *, apply: bool = True) -> int:
    """Remove whatever belongs to these images, for every encoder; returns how many rows.

    Without ``apply`` they are only counted.
    """
    tables = image_tables(store) if image_ids else ()
    where = {"image_id": list(image_ids)}
    return sum(_remove(store, table, where, apply=apply) for table in tables)


def remove_image_orphans(store: Store, *, older_than: timedelta, apply: bool = True) -> int:
    """Remove the vectors of images that have no row in ``images``; returns how many rows.

    Only those go that were there ``older_than`` ago. Without ``apply`` they are only counted.
    """
    images = owner_hashes(store, "images")
    before = datetime.now() - older_than
    return sum(
        remove_orphans(store, table, "images", known=images, before=before, apply=apply)
        for table in image_tables(store)
    )


def owner_hashes(store: Store, owners: str) -> NDArray[np.uint64]:
    """Sorted hashes of the ids of ``images`` or ``texts``, 8 bytes a row."""
    if not store.has(owners):
        return np.empty(0, np.uint64)
    return column_hashes(store.dataset(owners), TABLES[owners].key)


def remove_orphans(
    store: Store,
    table: str,
    owners: str,
    *,
    known: NDArray[np.uint64],
    before: datetime,
    apply: bool = True,
) -> int:
    """Remove the rows of a ``table`` whose id is none of the table ``owners``.

    ``known`` are :func:`owner_hashes`. A job commits vectors before the row that they belong to, so
    only those go that were there ``before`` that moment. Without ``apply`` they are only counted.
    Returns how many rows.
    """
    kind, encoder_id = kind_and_encoder(table)
    version = _version_before(store.dataset(kind, encoder_id), before)
    if version is None:
        return 0
    column = TABLES[owners].key[0]
    gone = 0
    for batch in store.scan(
        kind, columns=[column], encoder_id=encoder_id, version=version, batch_rows=_BLOCK
    ):
        absent = ~is_among(key_hashes(pa.Table.from_batches([batch])), known)
        ids = batch.filter(pa.array(absent)).column(0).to_pylist()
        # Once more: a job may have added what they belong to since.
        if alone := store.missing(owners, list(map(str, ids))):
            gone += _remove(store, table, {column: alone}, apply=apply)
    return gone


def _remove(store: Store, table: str, where: Mapping[str, list[str]], *, apply: bool) -> int:
    """How many rows of a table have these values; with ``apply`` they go."""
    kind, encoder_id = kind_and_encoder(table)
    if apply:
        return store.remove(kind, where, encoder_id=encoder_id)
    found = store.scan(kind, columns=list(where), encoder_id=encoder_id, where=where)
    return sum(batch.num_rows for batch in found)


def _version_before(dataset: Any, moment: datetime) -> int | None:
    """The last version of a table that was there at a moment, None if none is left."""
    old = [
        version["version"]
        for version in dataset.versions()
        if version["timestamp"].timestamp() <= moment.timestamp()
    ]
    return max(old, default=None)


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
                gone = find(dataset)[:ROWS_AT_ONCE]
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
