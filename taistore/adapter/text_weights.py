"""What each text counts in the loss, by who wrote it.

T rows of the text vector table, K texts of the store.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.errors import TrainingError
from taistore.store.store import Store

_SCAN_ROWS = 65_536
_ID = "S16"
"""A text id is 32 hexadecimal digits: 16 bytes."""

_MOST = 2**8


@dataclass(frozen=True, slots=True)
class TextWeights:
    """The rows of the vector table that count, and what each does: a mean of 1 over all of them.

    ``positions`` [R], ascending, are those of weight above 0; None where all rows are.
    ``codes`` uint8 [R] name each one's entry in ``values``.
    """

    positions: NDArray[np.int64] | None
    codes: NDArray[np.uint8]
    values: NDArray[np.float32]

    def take(self, rows_B: NDArray[np.int64]) -> NDArray[np.float32]:
        """Weights [B] of rows of the stream, which are counted along ``positions``."""
        found: NDArray[np.float32] = self.values[self.codes[rows_B]]
        return found

    def among(self, rows: NDArray[np.int64]) -> "TextWeights":
        """Those of these rows of the vector table alone, ascending."""
        own = np.arange(len(self.codes)) if self.positions is None else self.positions
        kept = np.isin(own, rows)
        codes = self.codes[kept]
        if not len(codes):
            raise TrainingError(
                "text_weights leaves no text that names one of these labels: give a writer a "
                "weight above 0"
            )
        mean = self.values[codes].mean(dtype=np.float64)
        return TextWeights(own[kept], codes, (self.values / mean).astype(np.float32))


def text_weights(
    store: Store, encoder_id: str, weights: Mapping[str, float], *, versions: Mapping[str, int]
) -> TextWeights:
    """Look up who wrote each text whose vector is there; other writers than those named weigh 1.

    Takes 17 bytes a text while it reads, then one. Raises :class:`TrainingError` where the store
    has no text by a writer that is named, or no text is left.
    """
    name = store.table_name("text_vectors", encoder_id)
    writers, codes_T = _writers(store, encoder_id, versions.get("texts"), versions.get(name))
    there = np.bincount(codes_T, minlength=len(writers))
    missing = [w for w in weights if w not in writers or not there[writers.index(w)]]
    if missing:
        have = ", ".join(sorted(w for w, n in zip(writers, there, strict=True) if w and n))
        raise TrainingError(
            f"{store.uri}: text_weights names the writer {missing[0]!r}, who wrote none of the "
            f"texts (writers: {have or 'none known'}): leave it out or correct it"
        )
    values = np.array([weights.get(w, 1.0) for w in writers])
    total = float(there @ values)
    if not total > 0:
        raise TrainingError(
            f"{store.uri}: text_weights leaves no text to train on: give a writer a weight above 0"
        )
    kept = values[codes_T] > 0
    values *= kept.sum() / total
    positions = None if kept.all() else np.flatnonzero(kept)
    codes = codes_T if positions is None else codes_T[positions]
    return TextWeights(positions, codes, values.astype(np.float32))


def _writers(
    store: Store, encoder_id: str, texts: int | None, vectors: int | None
) -> tuple[list[str], NDArray[np.uint8]]:
    """Names of writers and, for each row of the vector table [T], the number of its own."""
    names, ids_K, codes_K = _by_text(store, texts)
    found = [np.empty(0, np.uint8)]
    for batch in store.scan(
        "text_vectors",
        columns=["text_id"],
        encoder_id=encoder_id,
        batch_rows=_SCAN_ROWS,
        version=vectors,
    ):
        asked_B = _ids(batch.column(0))
        codes_B = np.zeros(len(asked_B), dtype=np.uint8)
        if len(ids_K):
            rows_B = np.minimum(np.searchsorted(ids_K, asked_B), len(ids_K) - 1)
            known_B = ids_K[rows_B] == asked_B
            codes_B[known_B] = codes_K[rows_B[known_B]]
        found.append(codes_B)
    return names, np.concatenate(found)


def _ids(column: "pa.Array[Any]") -> NDArray[np.bytes_]:
    return np.array([bytes.fromhex(str(i)) for i in column.to_pylist()], dtype=_ID)


def _by_text(
    store: Store, version: int | None
) -> tuple[list[str], NDArray[np.bytes_], NDArray[np.uint8]]:
    """Names of writers, the first for texts of nobody known; ids [K], ascending, with writers."""
    names = [""]
    ids: list[NDArray[np.bytes_]] = [np.empty(0, _ID)]
    codes: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)]
    for batch in store.scan(
        "texts", columns=["text_id", "writer"], batch_rows=_SCAN_ROWS, version=version
    ):
        writers = [str(writer) for writer in batch.column("writer").to_pylist()]
        names.extend(writer for writer in dict.fromkeys(writers) if writer not in names)
        if len(names) > _MOST:
            raise TrainingError(f"{store.uri}: over {_MOST - 1} writers: leave text_weights out")
        number = {name: code for code, name in enumerate(names)}
        ids.append(_ids(batch.column("text_id")))
        codes.append(np.array([number[writer] for writer in writers], dtype=np.uint8))
    ids_K, codes_K = np.concatenate(ids), np.concatenate(codes)
    order = np.argsort(ids_K, kind="stable")
    return names, ids_K[order], codes_K[order]
