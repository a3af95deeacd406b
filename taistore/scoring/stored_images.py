"""Images of a store with their vectors of one encoder, streamed in bounded memory.

Shapes: B images, D embedding dimension, R regions per image.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from taistore.store.arrow import vector_array
from taistore.store.store import Store

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
    return _values(store, "image_vectors", "vector", encoder_id, {"image_id": list(image_ids)})


def stored_regions(
    store: Store, encoder_id: str, image_ids: Sequence[str], *, grid: int | None = None
) -> dict[str, NDArray[np.float16]]:
    """The region vectors [R * D] that the store has of these images, of this ``grid`` alone."""
    where: dict[str, Any] = {"image_id": list(image_ids)}
    if grid is not None:
        where["grid"] = grid
    return _values(store, "region_vectors", "vectors", encoder_id, where)


def _values(
    store: Store, kind: str, column: str, encoder_id: str, where: Mapping[str, Any]
) -> dict[str, NDArray[np.float16]]:
    found: dict[str, NDArray[np.float16]] = {}
    if not where["image_id"]:
        return found
    columns = ["image_id", column]
    for batch in store.scan(kind, columns=columns, encoder_id=encoder_id, where=where):
        counts_B, values = _flat(batch.column(column))
        parts = np.split(values, np.cumsum(counts_B)[:-1])
        found.update(zip(_ids(batch), parts, strict=True))
    return found


def _ids(rows: pa.RecordBatch) -> list[str]:
    return [str(image_id) for image_id in rows.column("image_id").to_pylist()]


def _flat(column: Any) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
    """Values of each list [B], and all values, one list after another."""
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        return np.full(len(column), width), vector_array(column).reshape(-1)
    counts_B = pc.list_value_length(column).to_numpy(zero_copy_only=False).astype(np.int64)
    return counts_B, column.flatten().to_numpy(zero_copy_only=False)


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
