"""A vector of every token of the store's texts: what TaI-DPT takes for the regions of an image.

Shapes: L tokens of a text with the special ones and without padding, D embedding dimension.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from taistore.encoders.prompt_tower import PromptTower, prompt_tower
from taistore.encoders.protocol import Encoder
from taistore.progress import Progress, no_progress
from taistore.store.store import Store
from taistore.store.tables.ragged_vectors import ragged_column
from taistore.texts.rows.text_rows import hash_column, id_hashes

_COMMIT_ROWS = 1024
"""Texts in a commit: 25 tokens of 1,024 dimensions each take 50 MB."""

_ENCODE_ROWS = 128

_Row = Mapping[str, Any]


def write_token_vectors(store: Store, encoder: Encoder, *, progress: Progress = no_progress) -> int:
    """Make the token vectors that texts with a vector of this encoder lack; returns how many texts.

    Killed and run again it does what is left; of two at once each text is written by one. Raises
    :class:`EncoderError` where the encoder has no text tower that takes embeddings.
    """
    tower = prompt_tower(encoder)
    encoder_id = encoder.info.encoder_id
    whole = id_hashes(store, "text_vectors", encoder_id)
    lacking = np.setdiff1d(whole, id_hashes(store, "token_vectors", encoder_id))
    written = 0
    with progress("token vectors", total=len(lacking), unit="texts") as bar:
        for rows in _blocks(store, lacking) if len(lacking) else ():
            vectors: list[NDArray[np.float16]] = []
            for low in range(0, len(rows), _ENCODE_ROWS):
                block = rows[low : low + _ENCODE_ROWS]
                vectors += _of_tokens(tower, [str(row["text"]) for row in block])
                bar.advance(len(block))
            written += store.append("token_vectors", _table(rows, vectors), encoder_id=encoder_id)
    return written


def _blocks(store: Store, lacking: NDArray[np.uint64]) -> Iterator[list[_Row]]:
    """The texts of these hashes, a commit's worth at a time."""
    waiting: list[_Row] = []
    columns = ["text_id", "combination_id", "text"]
    for batch in store.scan("texts", columns=columns, batch_rows=_COMMIT_ROWS):
        wanted = np.isin(hash_column(batch.column("text_id")), lacking)
        waiting += batch.filter(pa.array(wanted)).to_pylist()
        while len(waiting) >= _COMMIT_ROWS:
            yield waiting[:_COMMIT_ROWS]
            waiting = waiting[_COMMIT_ROWS:]
    if waiting:
        yield waiting


@torch.inference_mode()
def _of_tokens(tower: PromptTower, texts: Sequence[str]) -> list[NDArray[np.float16]]:
    """The vectors [L, D] of each text's tokens."""
    prompts = tower.prompts(texts)
    found_NLD = tower.encode_tokens(prompts.embeddings_NLW, prompts).cpu().numpy()
    counts = prompts.counts_N.tolist()
    return [row[:count].astype(np.float16) for row, count in zip(found_NLD, counts, strict=True)]


def _table(rows: Sequence[_Row], vectors: Sequence[NDArray[np.float16]]) -> pa.Table:
    """Rows of ``token_vectors``, in which a text's tokens stand one after another."""
    return pa.table(
        {
            "text_id": [row["text_id"] for row in rows],
            "combination_id": [row["combination_id"] for row in rows],
            "vectors": ragged_column(vectors),
        }
    )
