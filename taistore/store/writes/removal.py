"""Rows that go for good: by their ids, or because the image that they belong to is gone."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from taistore.contracts import TABLES
from taistore.store.store import Store

_BLOCK = 4096


def image_tables(store: Store) -> list[tuple[str, str]]:
    """Kind and encoder of every table with a row an image, but ``images`` itself."""
    parts = [name.partition("__") for name in store.table_names()]
    return [
        (kind, encoder_id)
        for kind, _, encoder_id in parts
        if kind in TABLES and encoder_id and TABLES[kind].key == ("image_id",)
    ]


def remove_vectors(store: Store, image_ids: Sequence[str], *, apply: bool = True) -> int:
    """Remove whatever belongs to these images, for every encoder; returns how many rows.

    Without ``apply`` they are only counted.
    """
    tables = image_tables(store) if image_ids else ()
    return sum(_remove(store, kind, encoder_id, image_ids, apply) for kind, encoder_id in tables)


def remove_orphans(store: Store, *, older_than: timedelta, apply: bool = True) -> int:
    """Remove the vectors of images that have no row in ``images``; returns how many rows.

    A job commits vectors before the row of their image, so only those go that were there
    ``older_than`` ago. Without ``apply`` they are only counted. Holds 8 bytes an image.
    """
    ids = [
        np.fromiter(map(hash, batch.column(0).to_pylist()), np.int64)
        for batch in store.scan("images", columns=["image_id"])
    ]
    images = np.unique(np.concatenate([np.empty(0, np.int64), *ids]))
    gone = 0
    for kind, encoder_id in image_tables(store):
        version = _version_before(store, kind, encoder_id, datetime.now() - older_than)
        if version is None:
            continue
        for batch in store.scan(
            kind,
            columns=["image_id"],
            encoder_id=encoder_id,
            version=version,
            batch_rows=_BLOCK,
        ):
            there = [str(image_id) for image_id in batch.column(0).to_pylist()]
            known = np.isin(np.fromiter(map(hash, there), np.int64), images)
            # Once more: a job may have added their images since.
            alone = store.missing("images", [there[n] for n in np.flatnonzero(~known)])
            if alone:
                gone += _remove(store, kind, encoder_id, alone, apply)
    return gone


def _remove(store: Store, kind: str, encoder_id: str, image_ids: Sequence[str], apply: bool) -> int:
    where = {"image_id": list(image_ids)}
    if apply:
        return store.remove(kind, where, encoder_id=encoder_id)
    found = store.scan(kind, columns=["image_id"], encoder_id=encoder_id, where=where)
    return sum(batch.num_rows for batch in found)


def _version_before(store: Store, kind: str, encoder_id: str, moment: datetime) -> int | None:
    """The last version of a table that was there at a moment (local time), None if none is left."""
    old = [
        version["version"]
        for version in store.dataset(kind, encoder_id).versions()
        if version["timestamp"].timestamp() <= moment.timestamp()
    ]
    return max(old, default=None)
