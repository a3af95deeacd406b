"""Tables of a store as polars frames, and its vectors as arrays.

Shapes: n rows, D embedding dimension.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from taistore.store.store import Store

_KNOWN = ("positives", "negatives")


def table_frame(store: Store, kind: str) -> pl.DataFrame:
    """All rows of a table."""
    table = pa.Table.from_batches(store.scan(kind), schema=store.schema(kind))
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def image_frame(store: Store) -> pl.DataFrame:
    """All images, with the keys of the labels known of each in the place of label ids."""
    frame = table_frame(store, "images")
    keys = store.labels.keys
    named = {name: [[keys[n] for n in ids] for ids in frame[name]] for name in _KNOWN}
    return frame.with_columns(
        **{name: pl.Series(name, lists, dtype=pl.List(pl.String)) for name, lists in named.items()}
    )


def synthetic_frame(store: Store, encoder_id: str) -> pl.DataFrame:
    """All synthetic images of an encoder, each with its caption and the keys of its labels."""
    columns = ["synthetic_id", "text_id", "number", "combination_id", "writer", "model", "seed"]
    schema = store.schema("synthetic_vectors", encoder_id)
    batches = store.scan("synthetic_vectors", columns=columns, encoder_id=encoder_id)
    table = pa.Table.from_batches(
        (batch.select(columns) for batch in batches),
        schema=pa.schema([schema.field(name) for name in columns]),
    )
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    keys, index = store.labels.keys, store.combination_index()
    counts, label_ids = index.positives(frame["combination_id"].to_numpy())
    ends = np.cumsum(counts)
    lists = [
        [keys[n] for n in label_ids[end - count : end]]
        for end, count in zip(ends.tolist(), counts.tolist(), strict=True)
    ]
    texts = table_frame(store, "texts").select("text_id", "text")
    named = frame.with_columns(labels=pl.Series(lists, dtype=pl.List(pl.String)))
    return named.join(texts, on="text_id", how="left", maintain_order="left").select(
        "synthetic_id", "text_id", "number", "text", "labels", "writer", "model", "seed"
    )


def vectors_of(
    store: Store, what: str, ids: Iterable[str] | None, *, encoder_id: str
) -> NDArray[np.float16]:
    """Raw vectors [n, D] of ``image`` or ``text`` by their ids, or of all of them."""
    wanted = _all_ids(store, what) if ids is None else map(str, ids)
    return store.vectors(f"{what}_vectors", list(wanted), encoder_id=encoder_id)


def _all_ids(store: Store, what: str) -> Iterator[str]:
    for batch in store.scan(f"{what}s", columns=[f"{what}_id"]):
        yield from map(str, batch.column(0).to_pylist())
