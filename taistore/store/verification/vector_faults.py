"""Vectors that are of no use: not finite, zero, of another length than their encoder's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.contracts import TABLES
from taistore.printable import counted
from taistore.store.arrow import READ_AHEAD_BYTES, vector_array
from taistore.store.tables.table_names import kind_of
from taistore.store.verification.finding import Finding
from taistore.store.writes.commits import Addresses, address_filter, addresses_in, fragments_of
from taistore.store.writes.removal import remove_rows

_FAR = 4.0
"""Norms of one encoder's vectors lie within a factor of 2 of each other; this is far outside."""

RAGGED = ("region_vectors", "token_vectors", "synthetic_regions")
"""Kinds of tables with several vectors a row."""

_BATCH_ROWS = 1024


def vector_findings(dataset: Any, table: str, dim: int, *, repair: bool) -> Iterator[Finding]:
    """Rows whose vectors nobody can use; ``repair`` removes them, so that they are made again.

    The rows of centroids may be zero, of labels without images.
    """
    kind = kind_of(table)
    names, norms, places = _norms(dataset, kind, dim)
    bad = _bad(norms, kind)
    if bad.any():
        file = _file(dataset, places[bad])
        again = "run the job that wrote them again"

        def gone(now: Any) -> Addresses:
            _, norms_now, places_now = _norms(now, kind, dim)
            return places_now[_bad(norms_now, kind)]

        yield Finding(
            code="bad-vector",
            table=table,
            what=f"{counted(int(bad.sum()), 'row holds', 'rows hold')} a vector that is not "
            f"finite, is zero or has not {dim} dimensions (such as {names(int(places[bad][0]))}, "
            f"in {file})",
            remedy=f"repair= removes them, then {again}" if kind != "centroids" else again,
            repaired=repair and kind != "centroids" and remove_rows(dataset, table, gone) > 0,
        )
    sound = norms[~bad & (norms > 0)]
    if kind == "centroids" or not len(sound):
        return
    median = float(np.median(sound))
    far = ~bad & ((norms > _FAR * median) | (norms < median / _FAR))
    if far.any():
        yield Finding(
            code="far-norm",
            table=table,
            what=f"{counted(int(far.sum()), 'vector has', 'vectors have')} a norm more than "
            f"{_FAR:g} times off the median {median:.4g} (such as {names(int(places[far][0]))})",
            remedy="look at what they were made of, and whether all are of the same encoder",
            severity="warning",
        )


def _norms(dataset: Any, kind: str, dim: int) -> tuple[Any, NDArray[np.float32], Addresses]:
    """For each row the norm of its vector, of several the least or the first that is no number.

    With what names a row by its address, and the addresses; 12 bytes a row. NaN where the vector is
    not finite or of another length.
    """
    column = TABLES[kind].vector_fields[0] if TABLES[kind].vector_fields else "vectors"
    columns = ["grid", column] if kind in ("region_vectors", "synthetic_regions") else [column]
    norms: list[NDArray[np.float32]] = [np.empty(0, np.float32)]
    places: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    scanner = dataset.scanner(
        columns=columns,
        with_row_address=True,
        batch_size=_BATCH_ROWS,
        io_buffer_size=READ_AHEAD_BYTES,
    )
    for batch in scanner.to_batches():
        if column == "vector":
            norms.append(_norms_of(vector_array(batch.column(column))))
        else:
            norms.append(_ragged_norms(batch, dim))
        places.append(addresses_in(batch))

    def name(place: int) -> str:
        key = list(TABLES[kind].key)
        scanner = dataset.scanner(columns=key, filter=address_filter(np.array([place])))
        return " ".join(map(str, scanner.to_table().to_pylist()[0].values()))

    return name, np.concatenate(norms), np.concatenate(places)


def _norms_of(vectors_BD: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        norms_B: NDArray[np.float32] = np.linalg.norm(vectors_BD.astype(np.float32), axis=1)
    norms_B[~np.isfinite(vectors_BD).all(axis=1)] = np.nan
    return norms_B


def _ragged_norms(batch: pa.RecordBatch, dim: int) -> NDArray[np.float32]:
    """Least norms of rows of several vectors: a grid's square of them, or a text's tokens."""
    lists: Any = batch.column("vectors")
    found = np.full(batch.num_rows, np.nan, dtype=np.float32)
    grids: list[Any] = batch.column("grid").to_pylist() if "grid" in batch.schema.names else []
    for row, cells in enumerate(lists):
        flat = cells.values.to_numpy(zero_copy_only=False)
        wanted = grids[row] ** 2 * dim if grids else len(flat)
        if len(flat) == wanted and len(flat) and len(flat) % dim == 0:
            found[row] = _norms_of(flat.reshape(-1, dim)).min()
    return found


def _bad(norms: NDArray[np.float32], kind: str) -> NDArray[np.bool_]:
    bad: NDArray[np.bool_] = ~np.isfinite(norms)
    return bad if kind == "centroids" else bad | (norms == 0)


def _file(dataset: Any, place: Addresses) -> str:
    fragment = dataset.get_fragment(int(fragments_of(place)[0]))
    return f"{dataset.uri}/data/{fragment.metadata.files[0].path}"
