"""Rows of a vector table by their cosine to a query: the nearest few, or every one.

Shapes: B rows of a batch, D embedding dimension, K rows that are nearest.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.contracts import TABLES
from taistore.errors import StoreError
from taistore.store.arrow import vector_array
from taistore.store.lance_errors import reading
from taistore.store.store import Store
from taistore.store.writes.vector_index import REFINE, has_vector_index, probes

Float32 = NDArray[np.float32]

_BATCH_ROWS = 4096
_SPARE = 2
"""So many times as many rows as asked are decided among in float32: Lance compares float16."""


class Nearest(NamedTuple):
    """Ids of rows in Arrow, best first, with their cosines [K]."""

    ids_K: Any
    cosines_K: Float32

    def part(self, first: int, end: int) -> tuple[list[str], Float32]:
        """Those of these places."""
        ids = self.ids_K.slice(first, end - first).to_pylist()
        return [str(one) for one in ids], self.cosines_K[first:end]

    def cut(self, k: int) -> "Nearest":
        """The best ``k``."""
        return Nearest(self.ids_K.slice(0, k), self.cosines_K[:k])

    def __len__(self) -> int:
        return len(self.cosines_K)


_NONE = Nearest(pa.chunked_array([], pa.string()), np.empty(0, np.float32))


def nearest(store: Store, kind: str, encoder_id: str, query_D: NDArray[Any], k: int) -> Nearest:
    """The ``k`` rows of ``image_vectors`` or ``text_vectors`` with the highest cosine.

    By the table's index where ``taistore optimize`` made one; rows that came since are searched
    exactly, and float32 decides among the best. Without an index all rows are read. Raises
    :class:`StoreError` where the query, or a vector, is not finite or has no length.
    """
    unit_D = _unit(query_D)
    if not store.has(kind, encoder_id):
        return _NONE
    dataset = store.dataset(kind, encoder_id)
    if not has_vector_index(dataset):
        return all_cosines(store, kind, encoder_id, unit_D).cut(k)
    key = TABLES[kind].key[0]
    with reading(store.uri, store.table_name(kind, encoder_id)):
        found = dataset.to_table(
            columns=[key, "vector", "_distance"],
            nearest={
                "column": "vector",
                "q": unit_D,
                "k": _SPARE * k,
                "metric": "cosine",
                "nprobes": probes(dataset.count_rows()),
                "refine_factor": REFINE,
            },
        ).combine_chunks()
    if not found.num_rows:
        return _NONE
    vectors_BD = vector_array(found.column("vector").chunk(0))
    return _in_order(found.column(key), _cosines(vectors_BD, unit_D)).cut(k)


def all_cosines(store: Store, kind: str, encoder_id: str, query_D: NDArray[Any]) -> Nearest:
    """Every row, best first: exact. Some 100 bytes a row are held."""
    unit_D, key = _unit(query_D), TABLES[kind].key[0]
    ids: list[Any] = []
    cosines = [np.empty(0, np.float32)]
    for batch in _batches(store, kind, encoder_id, key):
        cosines_B = _cosines(vector_array(batch.column(1)), unit_D)
        if not np.isfinite(cosines_B).all():
            bad = batch.column(0)[int(np.flatnonzero(~np.isfinite(cosines_B))[0])]
            raise StoreError(
                f"{store.uri}: {store.table_name(kind, encoder_id)}: the vector of {bad} is no "
                "direction: 'taistore verify --repair' removes it, then ingest it again"
            )
        # A copy: Lance's own would keep the vectors of the batch in memory, 1 GB of a million.
        ids.append(batch.column(0).take(pa.array(np.arange(batch.num_rows))))
        cosines.append(cosines_B)
    return _in_order(pa.chunked_array(ids, pa.string()), np.concatenate(cosines))


def spread(store: Store, kind: str, encoder_id: str, query_D: NDArray[Any], *, rows: int) -> float:
    """Standard deviation of a query's cosines over the first ``rows`` rows; 1 where there is none.

    What makes the cosines of a text and those of a photo comparable, which differ in range.
    """
    unit_D, key = _unit(query_D), TABLES[kind].key[0]
    cosines, seen = [np.empty(0, np.float32)], 0
    for batch in _batches(store, kind, encoder_id, key):
        cosines.append(_cosines(vector_array(batch.column(1)), unit_D))
        seen += batch.num_rows
        if seen >= rows:
            break
    deviation = float(np.concatenate(cosines).std()) if seen else 0.0
    return deviation if deviation > 0 else 1.0


def _batches(store: Store, kind: str, encoder_id: str, key: str) -> Iterator[pa.RecordBatch]:
    return store.scan(kind, columns=[key, "vector"], encoder_id=encoder_id, batch_rows=_BATCH_ROWS)


def _unit(query_D: NDArray[Any]) -> Float32:
    query_D = query_D.astype(np.float32)
    length = float(np.linalg.norm(query_D))
    if not np.isfinite(length) or length == 0:
        raise StoreError("the query has a vector that is no direction: ask for something else")
    unit_D: Float32 = (query_D / length).astype(np.float32)
    return unit_D


def _cosines(vectors_BD: NDArray[Any], unit_D: Float32) -> Float32:
    rows_BD = vectors_BD.astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        found_B: Float32 = (rows_BD @ unit_D) / np.sqrt(np.einsum("bd,bd->b", rows_BD, rows_BD))
    return found_B


def _in_order(ids: Any, cosines_B: Float32) -> Nearest:
    # Equal ones in the order of the table.
    order = np.argsort(-cosines_B, kind="stable")
    return Nearest(ids.take(pa.array(order)), cosines_B[order])
