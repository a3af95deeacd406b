"""Photos of a store that a question is about: by cosine, by a run's scores of labels, or by both.

Photos are ranked exactly, or by the index of a large store; whatever a photo must be beside is
looked at before the best are taken, so that no filter leaves a list short.

Shapes: B photos, D embedding dimension, L labels.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from taistore.encoders.protocol import Float32
from taistore.finding.asked import Asked
from taistore.store.reads.nearest import Nearest, all_cosines, nearest
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.finding.label_scores import CellScores, LabelScores

_BLOCK = 1024
_SPARE = 8
"""Rows asked for beyond the wanted ones: of a photo that was pruned a vector may be left."""

_COLUMNS = ("image_id", "uri", "other_uris", "split")


class Ranked(NamedTuple):
    """A photo's row of ``images`` and its score, by which photos are ranked."""

    row: dict[str, Any]
    score: float


class Labels(NamedTuple):
    """The labels of a question: those that must be there, those that must not, and the cuts."""

    scores: "LabelScores"
    wanted: Sequence[int]
    unwanted: Sequence[int]
    cut: float | None
    without_cut: float

    def ranks(self, cells: "CellScores") -> tuple[Float32, Float32, NDArray[np.bool_]]:
        """Of photos [B]: what ranks them, what decides among equals, and which may be found.

        All wanted labels must be there, so that the least certain of them counts.
        """
        split = len(self.wanted)
        wanted_BL, scores_BL = cells.shown_BL[:, :split], cells.scores_BL[:, :split]
        unwanted_B = cells.shown_BL[:, split:].max(axis=1, initial=0.0)
        allowed_B = (
            unwanted_B <= self.without_cut if self.unwanted else np.ones(len(unwanted_B), bool)
        )
        if not split:
            return 1 - unwanted_B, 1 - cells.scores_BL.max(axis=1), allowed_B
        least_B = wanted_BL.min(axis=1)
        if self.cut is not None:
            allowed_B = allowed_B & (least_B >= self.cut)
        return least_B, scores_BL.min(axis=1), allowed_B

    @property
    def label_ids(self) -> list[int]:
        """The wanted ones, then the unwanted ones."""
        return [*self.wanted, *self.unwanted]


def by_cosine(
    store: Store,
    encoder_id: str,
    query_D: Float32,
    asked: Asked,
    *,
    labels: Labels | None,
    leave_out: str = "",
) -> list[Ranked]:
    """The photos with the highest cosine to a query, of those that have the labels and the split.

    ``leave_out`` is an ``image_id``. Without labels and split a large store's index is asked.
    """
    least = -np.inf if asked.least is None or asked.labels else asked.least
    if labels is None and asked.split is None:
        wanted = asked.top_k + _SPARE + bool(leave_out)
        found = nearest(store, "image_vectors", encoder_id, query_D, wanted)
        photos = _photos(store, found, leave_out=leave_out, least=least, labels=None)
        ranked = list(itertools.islice(photos, asked.top_k))
        if len(ranked) == asked.top_k or len(found) < wanted or _below(found, least):
            return ranked
    every = all_cosines(store, "image_vectors", encoder_id, query_D)
    if asked.split is not None:
        every = _of_split(store, every, asked.split)
    photos = _photos(store, every, leave_out=leave_out, least=least, labels=labels)
    return list(itertools.islice(photos, asked.top_k))


def by_labels(store: Store, labels: Labels, asked: Asked, *, split: str | None) -> list[Ranked]:
    """The photos with the highest scores of labels; what is known of a photo counts first."""
    ids: list[str] = []
    ranks, ties = [np.empty(0, np.float32)], [np.empty(0, np.float32)]
    for cells in labels.scores.of_store(labels.label_ids, split=split):
        rank_B, tie_B, allowed_B = labels.ranks(cells)
        there = np.flatnonzero(allowed_B)
        ids += [cells.image_ids[n] for n in there]
        ranks.append(rank_B[there])
        ties.append(tie_B[there])
        if len(ids) > 2 * max(asked.top_k, _BLOCK):
            ids, ranks, ties = _best(ids, ranks, ties, asked.top_k)
    ids, (rank_K,), _ = _best(ids, ranks, ties, asked.top_k)
    rows = _rows(store, ids)
    return [
        Ranked(rows[one], float(rank)) for one, rank in zip(ids, rank_K, strict=True) if one in rows
    ]


def _best(
    ids: list[str], ranks: list[Float32], ties: list[Float32], k: int
) -> tuple[list[str], list[Float32], list[Float32]]:
    """The best ``k`` so far, best first."""
    rank_B, tie_B = np.concatenate(ranks), np.concatenate(ties)
    order = np.lexsort((-tie_B, -rank_B))[:k]
    return [ids[n] for n in order], [rank_B[order]], [tie_B[order]]


def _photos(
    store: Store, found: Nearest, *, leave_out: str, least: float, labels: Labels | None
) -> Iterator[Ranked]:
    """Those that are photos of the store and have the labels, best first, as they are asked for."""
    for first in range(0, len(found), _BLOCK):
        ids, cosines_B = found.part(first, first + _BLOCK)
        there = [
            (one, float(cosine))
            for one, cosine in zip(ids, cosines_B, strict=True)
            if one != leave_out and cosine >= least
        ]
        kept = None if labels is None else _with_labels(labels, [one for one, _ in there])
        rows = _rows(store, [one for one, _ in there if kept is None or one in kept])
        yield from (Ranked(rows[one], cosine) for one, cosine in there if one in rows)
        if _below(Nearest(None, cosines_B), least):
            return


def _with_labels(labels: Labels, ids: Sequence[str]) -> set[str]:
    kept: set[str] = set()
    for cells in labels.scores.of_photos(ids, labels.label_ids):
        _, _, allowed_B = labels.ranks(cells)
        kept |= {cells.image_ids[n] for n in np.flatnonzero(allowed_B)}
    return kept


def _below(found: Nearest, least: float) -> bool:
    """Whether what comes after these is below the least cosine."""
    return len(found) > 0 and bool(found.cosines_K[-1] < least)


def _of_split(store: Store, found: Nearest, split: str) -> Nearest:
    ids = [
        batch.column(0)
        for batch in store.scan("images", columns=["image_id"], where={"split": split})
    ]
    inside: Any = pc.is_in(found.ids_K, value_set=pa.chunked_array(ids, pa.string()))
    there = np.asarray(inside)
    return Nearest(found.ids_K.filter(inside), found.cosines_K[there])


def _rows(store: Store, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    if not ids:
        return {}
    batches = store.scan("images", columns=_COLUMNS, where={"image_id": list(ids)})
    return {row["image_id"]: row for batch in batches for row in batch.to_pylist()}
