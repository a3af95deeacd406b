"""The texts of a store that lie nearest to a photo, with their labels."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from taistore.store.reads.nearest import Nearest
from taistore.store.store import Store

_BLOCK = 1024
_BLOCKS = 16
"""Captions are looked for among the nearest 16,384."""


class Caption(NamedTuple):
    """A text of the store, its cosine, and its labels."""

    text_id: str
    text: str
    cosine: float
    label_ids: frozenset[int]


def captions_in_order(store: Store, near: Nearest) -> Iterator[Caption]:
    """The texts of these vectors, the nearest first; one whose text is gone is left out."""
    for first in range(0, min(len(near), _BLOCKS * _BLOCK), _BLOCK):
        ids, cosines_B = near.part(first, first + _BLOCK)
        columns = ["text_id", "text", "combination_id"]
        rows = {
            row["text_id"]: row
            for batch in store.scan("texts", columns=columns, where={"text_id": ids})
            for row in batch.to_pylist()
        }
        labels = _labels(store, [row["combination_id"] for row in rows.values()])
        for one, cosine in zip(ids, cosines_B.tolist(), strict=True):
            if one in rows:
                row = rows[one]
                shown = labels.get(row["combination_id"], frozenset())
                yield Caption(one, row["text"], cosine, shown)


def _labels(store: Store, combination_ids: Sequence[int]) -> dict[int, frozenset[int]]:
    where = {"combination_id": list(dict.fromkeys(combination_ids))}
    return {
        row["combination_id"]: frozenset(row["label_ids"])
        for batch in store.scan("combinations", where=where)
        for row in batch.to_pylist()
    }
