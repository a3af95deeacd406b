"""Rows of the tables ``combinations``, ``texts`` and ``text_vectors``: their ids, and writing them.

The order is combinations, texts, vectors: a job killed in between leaves texts without vectors,
which :func:`encode_missing_texts` finds, and never a vector without its text.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder
from taistore.progress import Progress, ProgressBar, no_progress
from taistore.store.arrow import vector_column
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.texts.language.token_lengths import TOO_LONG, text_lengths

ENCODE_JOB = "encode-texts"
_ENCODE_ROWS = 512
_COMMIT_ROWS = 4096

Vector = NDArray[np.float16]


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRow:
    """A row of ``texts`` together with the labels of its combination.

    ``request_id``, ``temperature`` and ``attempt`` say what a language model was asked for;
    ``mentions`` are label ids that the text names although they are not in its combination.
    """

    text_id: str
    combination_id: int
    label_ids: tuple[int, ...]
    text: str
    writer: str
    model: str | None
    instruction: str | None
    turn: int
    seed: int | None
    tokens: int
    request_id: str | None = None
    temperature: float | None = None
    attempt: int | None = None
    mentions: tuple[int, ...] | None = None


class _Unencoded(NamedTuple):
    text_id: str
    combination_id: int
    text: str


def text_id(text: str, combination_id: int) -> str:
    """32 hexadecimal digits naming a text of a combination, equal on every machine.

    >>> text_id("a dog", 7) == text_id("a dog", 8)
    False
    """
    content = combination_id.to_bytes(8, "big", signed=True) + text.encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def write_texts(
    store: Store,
    encoder: Encoder,
    rows: Sequence[TextRow],
    *,
    bar: ProgressBar | None = None,
    encoded: Mapping[str, Vector] | None = None,
) -> int:
    """Encode and append the rows, sorted by combination; returns how many texts were new.

    ``encoded`` holds vectors [D] of texts that this encoder has seen already.
    """
    if not rows:
        return 0
    ordered = sorted(rows, key=lambda row: (row.combination_id, row.turn, row.text_id))
    by_combination = {row.combination_id: list(row.label_ids) for row in ordered}
    ids, label_ids = list(by_combination), list(by_combination.values())
    store.append("combinations", {"combination_id": ids, "label_ids": label_ids})
    written = store.append("texts", text_columns(store, ordered))
    _write_vectors(store, encoder, ordered, bar, encoded)
    return written


def text_columns(store: Store, rows: Sequence[TextRow]) -> dict[str, list[Any]]:
    """The rows as columns of the table ``texts``."""
    return {name: [getattr(row, name) for row in rows] for name in store.schema("texts").names}


def encode_missing_texts(
    store: Store, encoder: Encoder, *, progress: Progress = no_progress
) -> int:
    """Encode the texts of the store that have no vector of this encoder; returns how many.

    Texts that are too long for this encoder are set aside in ``rejects``, never cut.
    """
    encoder_id = encoder.info.encoder_id
    store.register_encoder(encoder.info)
    wanted = store.count("texts")
    present = store.count("text_vectors", encoder_id)
    if wanted <= present:
        return 0
    there = id_hashes(store, "text_vectors", encoder_id)
    encoded = 0
    with progress("encoding texts", total=wanted - present, unit="texts") as bar:
        waiting: list[_Unencoded] = []
        columns = list(_Unencoded._fields)
        for batch in store.scan("texts", columns=columns, batch_rows=_COMMIT_ROWS):
            absent = ~np.isin(hash_column(batch.column("text_id")), there)
            kept = batch.filter(pa.array(absent))
            waiting.extend(_Unencoded(**row) for row in kept.to_pylist())
            if len(waiting) >= _COMMIT_ROWS:
                encoded += _encode_block(store, encoder, waiting, bar)
                waiting = []
        encoded += _encode_block(store, encoder, waiting, bar)
    return encoded


def _encode_block(
    store: Store, encoder: Encoder, waiting: Sequence[_Unencoded], bar: ProgressBar
) -> int:
    if not waiting:
        return 0
    lengths = text_lengths(encoder, [text.text for text in waiting])
    paired = list(zip(waiting, lengths, strict=True))
    long = [
        Reject(text.text_id, TOO_LONG, length.detail) for text, length in paired if not length.fits
    ]
    if long:
        store.reject(f"{ENCODE_JOB}:{encoder.info.encoder_id}", long)
        bar.advance(len(long))
    fitting = [text for text, length in paired if length.fits]
    fitting.sort(key=lambda text: text.combination_id)
    _write_vectors(store, encoder, fitting, bar)
    return len(fitting)


def _write_vectors(
    store: Store,
    encoder: Encoder,
    texts: "Sequence[TextRow | _Unencoded]",
    bar: ProgressBar | None,
    encoded: Mapping[str, Vector] | None = None,
) -> None:
    if not texts:
        return
    vectors = dict(encoded or {})
    left = [row.text for row in texts if row.text not in vectors]
    for start in range(0, len(left), _ENCODE_ROWS):
        block = left[start : start + _ENCODE_ROWS]
        vectors.update(zip(block, encoder.encode_texts(block).astype(np.float16), strict=True))
        if bar is not None:
            bar.advance(len(block))
    rows = pa.table(
        {
            "text_id": [row.text_id for row in texts],
            "combination_id": [row.combination_id for row in texts],
            "vector": vector_column(np.stack([vectors[row.text] for row in texts])),
        }
    )
    store.append("text_vectors", rows, encoder_id=encoder.info.encoder_id)


def id_hashes(store: Store, kind: str, encoder_id: str | None) -> NDArray[np.uint64]:
    blocks = [np.empty(0, dtype=np.uint64)]
    for batch in store.scan(kind, columns=["text_id"], encoder_id=encoder_id, batch_rows=65536):
        blocks.append(hash_column(batch.column(0)))
    return np.unique(np.concatenate(blocks))


def hash_column(column: "pa.Array[Any]") -> NDArray[np.uint64]:
    """The first 64 of an id's 128 bits: enough to tell a store's texts apart, in 8 bytes each."""
    return np.array([int(str(i)[:16], 16) for i in column.to_pylist()], dtype=np.uint64)
