"""Vectors of which a row has several: regions of an image, made or taken, tokens of a text.

Shapes: L regions or tokens, D embedding dimension.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.store.store import Store


def stored_regions(
    store: Store,
    encoder_id: str,
    image_ids: Sequence[str],
    *,
    grid: int | None = None,
    version: int | None = None,
) -> dict[str, NDArray[np.float16]]:
    """The region vectors [L, D] that the store has of these images, of this ``grid`` alone."""
    where: dict[str, Any] = {"image_id": list(image_ids)}
    if grid is not None:
        where["grid"] = grid
    return _found(store, "region_vectors", encoder_id, where, version)


def stored_tokens(
    store: Store, encoder_id: str, text_ids: Sequence[str], *, version: int | None = None
) -> dict[str, NDArray[np.float16]]:
    """The token vectors [L, D] that the store has of these texts."""
    return _found(store, "token_vectors", encoder_id, {"text_id": list(text_ids)}, version)


def stored_synthetic_regions(
    store: Store, encoder_id: str, synthetic_ids: Sequence[str], *, version: int | None = None
) -> dict[str, NDArray[np.float16]]:
    """The region vectors [L, D] that the store has of these images, which were made of texts."""
    where = {"synthetic_id": list(synthetic_ids)}
    return _found(store, "synthetic_regions", encoder_id, where, version)


def stored_grid(store: Store, kind: str, encoder_id: str) -> int:
    """The side of the grid that ``region_vectors`` or ``synthetic_regions`` are of; 0: none."""
    rows = store.scan(kind, columns=["grid"], encoder_id=encoder_id, batch_rows=1)
    first = next(rows, None)
    return int(first.column(0)[0].as_py()) if first is not None and first.num_rows else 0


def in_order(
    found: Mapping[str, NDArray[np.float16]], ids: Sequence[str], *, what: str
) -> list[NDArray[np.float16]]:
    """Those of ``ids``; raises :class:`StoreError` naming the first that is not there."""
    lacking = next((one for one in ids if one not in found), None)
    if lacking is not None:
        raise StoreError(
            f"the {what} vectors of {lacking} are no longer there: another job removed them; make "
            "them again and train a new run"
        )
    return [found[one] for one in ids]


def _found(
    store: Store, kind: str, encoder_id: str, where: Mapping[str, Any], version: int | None
) -> dict[str, NDArray[np.float16]]:
    key = next(iter(where))
    if not where[key]:
        return {}
    dim = store.encoder(encoder_id).dim
    found: dict[str, NDArray[np.float16]] = {}
    batches = store.scan(
        kind, columns=[key, "vectors"], encoder_id=encoder_id, where=where, version=version
    )
    for batch in batches:
        found |= ragged_rows(batch, dim=dim)
    return found


def ragged_rows(batch: pa.RecordBatch, *, dim: int) -> dict[str, NDArray[np.float16]]:
    """The column ``vectors`` of a batch as [L, D] by its first column."""
    lists: Any = batch.column("vectors")
    offsets = lists.offsets.to_numpy()
    flat = lists.values.to_numpy(zero_copy_only=False)
    return {
        str(one): flat[offsets[row] : offsets[row + 1]].reshape(-1, dim)
        for row, one in enumerate(batch.column(0).to_pylist())
    }


def ragged_column(parts: Sequence[NDArray[np.float16]]) -> "pa.ListArray[Any]":
    """Rows of vectors [L, D] as a column ``vectors``."""
    offsets = np.cumsum([0, *(part.size for part in parts)], dtype=np.int32)
    flat = np.concatenate([np.empty(0, np.float16), *(part.reshape(-1) for part in parts)])
    column: pa.ListArray[Any] = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()), pa.array(flat, pa.float16())
    )
    return column
