"""Images of a store with their vectors of one encoder, streamed in bounded memory.

Shapes: B images, D embedding dimension, R regions per image.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.store.arrow import vector_array
from taistore.store.store import Store

BATCH_ROWS = 1024
"""Images read at once; a look-up by id costs about the same for a thousand as for one."""

REGION_BATCH_ROWS = 256
"""Images read at once with their regions: 7 x 7 regions of 1,024 float16 take 25 MB."""


class StoredBatch(NamedTuple):
    """Images that have a vector, and the ids of those of the same read that have none.

    ``rows`` holds the asked columns of ``images``, one row for each of ``whole_BD`` float16.
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

    ``regions`` asks for region vectors too, of which no image may be without
    (:func:`all_have_regions`): raises :class:`StoreError` where one is.
    """
    dim = store.encoder(encoder_id).dim
    columns = list(dict.fromkeys(("image_id", *columns)))
    for rows in store.scan(
        "images",
        columns=columns,
        where=where,
        batch_rows=REGION_BATCH_ROWS if regions else BATCH_ROWS,
    ):
        found = _Found(store, "image_vectors", "vector", encoder_id, rows)
        there = found.rows
        regions_BRD = None
        if regions and there.num_rows:
            kept = _Found(store, "region_vectors", "vectors", encoder_id, there)
            if len(kept.places) < there.num_rows:
                raise StoreError(
                    f"{store.uri}: region vectors were removed while reading: run it again"
                )
            regions_BRD = kept.values.reshape(there.num_rows, -1, dim)
        yield StoredBatch(
            rows=there,
            whole_BD=found.values.reshape(there.num_rows, dim),
            regions_BRD=regions_BRD,
            without_vector=found.missing,
        )


class _Found:
    """The value of every row that has one, in the order of the rows."""

    def __init__(
        self, store: Store, kind: str, column: str, encoder_id: str, rows: pa.RecordBatch
    ) -> None:
        ids = _ids(rows)
        place = {image_id: n for n, image_id in enumerate(ids)}
        places: list[int] = []
        values = [np.empty(0, np.float16)]
        for batch in store.scan(
            kind,
            columns=["image_id", column],
            encoder_id=encoder_id,
            where={"image_id": ids},
        ):
            places += [place[image_id] for image_id in _ids(batch)]
            values.append(_flat(batch.column(column)))
        self.places = np.array(places, dtype=np.int64)
        order = np.argsort(self.places)
        flat = np.concatenate(values)
        width = len(flat) // len(places) if places else 0
        self.values: NDArray[np.float16] = flat.reshape(len(places), width)[order]
        self.rows = rows.take(self.places[order])
        self.missing = rows.take(np.setdiff1d(np.arange(len(ids)), self.places))


def _ids(rows: pa.RecordBatch) -> list[str]:
    return [str(image_id) for image_id in rows.column("image_id").to_pylist()]


def _flat(column: Any) -> NDArray[np.float16]:
    if pa.types.is_fixed_size_list(column.type):
        return vector_array(column).reshape(-1)
    flat: NDArray[np.float16] = column.flatten().to_numpy(zero_copy_only=False)
    return flat


def all_have_regions(
    store: Store, encoder_id: str, *, where: Mapping[str, Any] | None = None
) -> bool:
    """Whether every image with a vector also has region vectors, all of one grid."""
    regions = store.count("region_vectors", encoder_id)
    if not regions:
        return False
    grids: set[int] = set()
    for batch in store.scan("region_vectors", columns=["grid"], encoder_id=encoder_id):
        grids.update(np.unique(batch.column("grid").to_numpy()).tolist())
    if len(grids) > 1:
        return False
    for rows in store.scan("images", columns=["image_id"], where=where, batch_rows=BATCH_ROWS):
        ids = _ids(rows)
        without = store.missing("region_vectors", ids, encoder_id=encoder_id)
        if without and len(store.missing("image_vectors", without, encoder_id=encoder_id)) < len(
            without
        ):
            return False
    return True
