"""Images of a store with their vectors of one encoder, streamed in bounded memory.

Shapes: B images, D embedding dimension, R regions per image.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.store.arrow import vector_array
from taistore.store.store import Store
from taistore.store.tables.ragged_vectors import stored_regions

BATCH_ROWS = 1024
"""Images read at once; a look-up by id costs about the same for a thousand as for one."""

REGION_BATCH_ROWS = 256
"""Images read at once with their regions: 7 x 7 regions of 1,024 float16 take 25 MB."""


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
) -> Iterator[StoredBatch]:
    """Every image of the store (of ``where``) with its vector, in the order of the table.

    ``regions`` asks for region vectors too, of those images that have any: where only some of a
    read have, or on several grids, these come in batches of their own, after each other.
    """
    dim = store.encoder(encoder_id).dim
    columns = list(dict.fromkeys(("image_id", *columns)))
    for rows in store.scan(
        "images",
        columns=columns,
        where=where,
        batch_rows=REGION_BATCH_ROWS if regions else BATCH_ROWS,
    ):
        ids = _ids(rows)
        found = stored_vectors(store, encoder_id, ids)
        there = np.array([n for n, i in enumerate(ids) if i in found], dtype=np.int64)
        missing = rows.take(np.setdiff1d(np.arange(len(ids)), there))
        grids: dict[int, list[int]] = {}
        cells = stored_regions(store, encoder_id, list(found)) if regions else {}
        for n in there.tolist():
            grids.setdefault(len(cells.get(ids[n], ())), []).append(n)
        for grid, members in grids.items() or [(0, [])]:
            yield StoredBatch(
                rows=rows.take(np.array(members, dtype=np.int64)),
                whole_BD=np.array([found[ids[n]] for n in members], np.float16).reshape(-1, dim),
                regions_BRD=np.stack([cells[ids[n]] for n in members]).reshape(
                    len(members), -1, dim
                )
                if grid
                else None,
                without_vector=missing,
            )
            missing = missing.slice(0, 0)


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
    for rows in store.scan("images", columns=["image_id"], where=where, batch_rows=BATCH_ROWS):
        ids = _ids(rows)
        if len(store.missing("region_vectors", ids, encoder_id=encoder_id)) < len(ids):
            return True
    return False
