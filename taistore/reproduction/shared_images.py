"""Images that another store of the work folder has encoded are copied, not encoded again.

A vector belongs to an image's content and an encoder, whatever the labels and texts beside it.
Nothing is copied of what is known of an image: ingesting tells that of every image anew.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from taistore.errors import StoreError
from taistore.images.statements import DEFAULT_SPLIT, paths_of, put_paths
from taistore.progress import Progress, no_progress
from taistore.store.store import Store

_COLUMNS = ("image_id", "uri", "width", "height", "other_uris")
_COMMIT_ROWS = 1024
"""Vectors in a commit: 100 MB with regions of a grid of 7, D 1,024."""

_NOTHING_KNOWN: dict[str, Any] = {
    "positives": [],
    "negatives": [],
    "complete": False,
    "combination_id": None,
    "split": DEFAULT_SPLIT,
}


def share_images(
    store: Store,
    encoder_id: str,
    paths: Collection[str],
    *,
    folders: Iterable[Path],
    regions: int = 0,
    batch_rows: int = 4096,
    progress: Progress = no_progress,
) -> int:
    """Copy what the stores at ``folders`` have of the images at ``paths``; returns how many.

    That is their vectors of this encoder, those of a grid of ``regions`` a side (0: none), and then
    their rows, of which paths and size are kept alone. A row comes last, so that an image with a
    row has its vectors; killed and called again it copies what is left. Folders without a store of
    this version are passed over.
    """
    copied = 0
    for folder in folders:
        other = _store_at(folder)
        if other is None or not other.has("image_vectors", encoder_id):
            continue
        with progress("Copying images", total=other.count("images"), unit="image") as bar:
            for batch in other.scan("images", columns=_COLUMNS, batch_rows=batch_rows):
                rows = _wanted(batch, paths)
                copied += _copy(store, other, rows, encoder_id=encoder_id, regions=regions)
                bar.advance(batch.num_rows)
    return copied


def _store_at(folder: Path) -> Store | None:
    try:
        return Store.open(folder)
    except StoreError:
        return None


def _wanted(batch: pa.RecordBatch, paths: Collection[str]) -> dict[str, dict[str, Any]]:
    """The rows of images at these paths, by id, and with no other path."""
    found = {}
    for row in batch.to_pylist():
        there = [path for path in paths_of(row) if path in paths]
        if there:
            put_paths(row, there)
            found[str(row["image_id"])] = row | _NOTHING_KNOWN
    return found


def _copy(
    store: Store,
    other: Store,
    rows: Mapping[str, dict[str, Any]],
    *,
    encoder_id: str,
    regions: int,
) -> int:
    new = store.missing("images", list(rows))
    if not new:
        return 0
    _copy_vectors(store, other, "image_vectors", encoder_id, {"image_id": new})
    if regions:
        where = {"image_id": new, "grid": regions}
        _copy_vectors(store, other, "region_vectors", encoder_id, where)
    without = set(store.missing("image_vectors", new, encoder_id=encoder_id))
    return store.append("images", [rows[i] for i in new if i not in without])


def _copy_vectors(
    store: Store, other: Store, kind: str, encoder_id: str, where: dict[str, Any]
) -> None:
    for batch in other.scan(kind, encoder_id=encoder_id, where=where, batch_rows=_COMMIT_ROWS):
        store.append(kind, pa.Table.from_batches([batch]), encoder_id=encoder_id)
