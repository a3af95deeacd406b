"""Images of a store, or synthetic ones, with their vectors of one encoder, in bounded memory.

Shapes: B images, D embedding dimension, R regions per image.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.store.arrow import vector_array
from taistore.store.store import Store
from taistore.store.tables.ragged_vectors import ragged_rows, stored_synthetic_regions
from taistore.store.tables.rows_in_order import RowsInOrder
from taistore.synthetic.image_pending import contents

BATCH_ROWS = 1024
"""Images read at once."""

REGION_BATCH_ROWS = 256
"""Images read at once with their regions: 7 x 7 regions of 1,024 float16 take 25 MB."""

_SINGLE = 4
"""Reads of images that mostly say whether any has regions, before all regions' ids are read."""


class StoredBatch(NamedTuple):
    """Images that have a vector, and the rows of those of the same read that have none.

    ``rows`` holds the asked columns of ``images``, one row for each of ``whole_BD`` float16. Either
    all of them have regions, or ``regions_BRD`` is None.
    """

    rows: pa.RecordBatch
    whole_BD: NDArray[np.float16]
    regions_BRD: NDArray[np.float16] | None
    without_vector: pa.RecordBatch


def stored_batches(
    store: Store,
    encoder_id: str,
    *,
    columns: Sequence[str],
    regions: bool,
    where: Mapping[str, Any] | None = None,
    chosen: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None,
) -> Iterator[StoredBatch]:
    """Every image of the store (of ``where``) with its vector, in the order of the table.

    ``chosen`` leaves out rows of ``images`` whose vectors are then not read.

    ``regions`` asks for region vectors too, of those images that have any: where only some of a
    read have, or on several grids, these come in batches of their own, after each other.
    """
    columns = list(dict.fromkeys(("image_id", *columns)))
    batch_rows = REGION_BATCH_ROWS if regions else BATCH_ROWS
    vectors = RowsInOrder(
        store, "image_vectors", encoder_id, columns=["vector"], block_rows=batch_rows
    )
    grids = RowsInOrder(
        store, "region_vectors", encoder_id, columns=["vectors"], block_rows=batch_rows
    )
    for read in store.scan("images", columns=columns, where=where, batch_rows=batch_rows):
        rows = read if chosen is None else chosen(read)
        if not rows.num_rows:
            continue
        ids = _ids(rows)
        there, found = vectors.take(ids)
        whole_TD = vector_array(found.column("vector").combine_chunks())
        missing = rows.take(np.setdiff1d(np.arange(len(ids)), there))
        cells: dict[str, NDArray[np.float16]] = {}
        if regions:
            _, lists = grids.take([ids[n] for n in there])
            for part in lists.to_batches():
                cells |= ragged_rows(part, dim=whole_TD.shape[1])
        for members, regions_BRD in _by_grid(ids, there, cells):
            yield StoredBatch(
                rows=rows.take(members),
                whole_BD=whole_TD[np.searchsorted(there, members)],
                regions_BRD=regions_BRD,
                without_vector=missing,
            )
            missing = missing.slice(0, 0)


def _by_grid(
    ids: Sequence[str], there: NDArray[np.int64], cells: Mapping[str, NDArray[np.float16]]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16] | None]]:
    """Places of images that can be one batch, and their regions [B, R, D] where they have any."""
    if not cells:
        yield there, None
        return
    grids: dict[int, list[int]] = {}
    for n in there.tolist():
        grids.setdefault(len(cells.get(ids[n], ())), []).append(n)
    for grid, members in grids.items():
        regions_BRD = np.stack([cells[ids[n]] for n in members]) if grid else None
        yield np.array(members, dtype=np.int64), regions_BRD


def synthetic_batches(
    store: Store, encoder_id: str, *, regions: bool, versions: Mapping[str, int]
) -> Iterator[StoredBatch]:
    """Every synthetic image with its vector, at these versions of tables, in the table's order.

    ``rows`` holds ``synthetic_id`` and ``combination_id``, and none is without a vector. Regions
    come as in :func:`stored_batches`; those of another picture than the vector's are left out.
    """
    columns = ["synthetic_id", "combination_id", "content", "vector"]
    for rows in store.scan(
        "synthetic_vectors",
        columns=columns,
        encoder_id=encoder_id,
        batch_rows=REGION_BATCH_ROWS if regions else BATCH_ROWS,
        version=versions.get(store.table_name("synthetic_vectors", encoder_id)),
    ):
        ids = [str(one) for one in rows.column("synthetic_id").to_pylist()]
        cells: dict[str, NDArray[np.float16]] = {}
        if regions:
            whole = _with_regions(store, encoder_id, rows, versions=versions)
            version = versions.get(store.table_name("synthetic_regions", encoder_id))
            cells = stored_synthetic_regions(store, encoder_id, whole, version=version)
        keys, vectors_BD = rows.select(columns[:2]), vector_array(rows.column("vector"))
        for members, regions_BRD in _by_grid(ids, np.arange(len(ids)), cells):
            yield StoredBatch(
                rows=keys.take(members),
                whole_BD=vectors_BD[members],
                regions_BRD=regions_BRD,
                without_vector=keys.slice(0, 0),
            )


def _with_regions(
    store: Store, encoder_id: str, rows: pa.RecordBatch, *, versions: Mapping[str, int]
) -> list[str]:
    """Which of these synthetic images have regions that are of the same picture."""
    of = {
        str(one): content
        for one, content in zip(
            rows.column("synthetic_id").to_pylist(), rows.column("content").to_pylist(), strict=True
        )
    }
    version = versions.get(store.table_name("synthetic_regions", encoder_id))
    found = contents(store, "synthetic_regions", encoder_id, list(of), version=version)
    return [one for one, content in of.items() if found.get(one) == content]


def stored_vectors(
    store: Store, encoder_id: str, image_ids: Sequence[str]
) -> dict[str, NDArray[np.float16]]:
    """The vectors [D] that the store has of these images."""
    found: dict[str, NDArray[np.float16]] = {}
    if not image_ids:
        return found
    columns, where = ["image_id", "vector"], {"image_id": list(image_ids)}
    for batch in store.scan("image_vectors", columns=columns, encoder_id=encoder_id, where=where):
        found.update(zip(_ids(batch), vector_array(batch.column("vector")), strict=True))
    return found


def _ids(rows: pa.RecordBatch) -> list[str]:
    return [str(image_id) for image_id in rows.column("image_id").to_pylist()]


def some_have_regions(
    store: Store, encoder_id: str, *, where: Mapping[str, Any] | None = None
) -> bool:
    """Whether any image (of ``where``) has region vectors."""
    if not store.count("region_vectors", encoder_id):
        return False
    scanned = store.scan("images", columns=["image_id"], where=where, batch_rows=BATCH_ROWS)
    for number, rows in enumerate(scanned):
        ids = _ids(rows)
        single = number < _SINGLE
        lacking = store.missing("region_vectors", ids, encoder_id=encoder_id, single=single)
        if len(lacking) < len(ids):
            return True
    return False


def some_synthetic_have_regions(
    store: Store, encoder_id: str, *, versions: Mapping[str, int]
) -> bool:
    """Whether any synthetic image has regions, at these versions of tables."""
    if store.table_name("synthetic_regions", encoder_id) not in versions:
        return False
    scanned = store.scan(
        "synthetic_vectors",
        columns=["synthetic_id", "content"],
        encoder_id=encoder_id,
        batch_rows=BATCH_ROWS,
        version=versions.get(store.table_name("synthetic_vectors", encoder_id)),
    )
    return any(_with_regions(store, encoder_id, rows, versions=versions) for rows in scanned)
