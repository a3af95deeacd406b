"""Centroids kept in the store, brought up to date by reading only what has changed.

Kinds of the table ``centroids``: "label" and "images" (see ``stored_labels``), and "combination"
for Eq. 8 of arXiv:2312.04160. B batch, C combinations with texts, D embedding dimension, M texts.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.geometry.centroids import (
    CombinationCentroids,
    LabelCentroids,
    combination_centroids,
    not_finite,
    text_combinations,
)
from taistore.geometry.group_sums import GroupSums, NonFiniteRowError
from taistore.geometry.stored_label_centroids import FULL_PASS_SHARE, ROWS_PER_READ, refresh_labels
from taistore.progress import Progress, no_progress
from taistore.store.arrow import vector_array, vector_column
from taistore.store.store import Store

COMBINATION_KIND = "combination"

_ROWS_PER_COMMIT = 16_384


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Centroids that are up to date, and what it took: vectors read, and why so many.

    ``images_from`` and ``texts_from`` are "stored" (nothing had changed), "changes" or "all".
    """

    images: LabelCentroids
    texts: CombinationCentroids
    images_from: str
    texts_from: str
    image_vectors_read: int
    text_vectors_read: int


def refresh_centroids(
    store: Store,
    encoder_id: str,
    *,
    split: str | None = "train",
    progress: Progress = no_progress,
) -> Refreshed:
    """Bring the stored centroids up to date with images and texts, and return them.

    ``split`` None: all images. Images are compared with what the table ``images`` held when the
    centroids were last computed; vectors are read of those alone that came, went or were
    relabelled. Everything is read where that version is gone (``taistore optimize`` drops old
    ones), another split was stored, or more than a quarter has changed. Raises
    :class:`StoreError` naming table and row of a vector that is not finite.
    """
    images, images_from, images_read = refresh_labels(store, encoder_id, split, progress)
    texts, texts_from, texts_read = _refresh_combinations(store, encoder_id, progress)
    return Refreshed(images, texts, images_from, texts_from, images_read, texts_read)


# --- combinations ------------------------------------------------------------------------------


def _refresh_combinations(
    store: Store, encoder_id: str, progress: Progress
) -> tuple[CombinationCentroids, str, int]:
    """Texts are only ever added, so that a combination is stale where its count has grown."""
    table = store.table_name("text_vectors", encoder_id)
    version = store.versions([("text_vectors", encoder_id)]).get(table)
    ids_M = text_combinations(store, encoder_id, version)
    ids_C, groups_M, counts_C = np.unique(ids_M, return_inverse=True, return_counts=True)
    means_CD = np.zeros((len(ids_C), store.encoder(encoder_id).dim), dtype=np.float32)
    fresh_C = np.zeros(len(ids_C), dtype=np.bool_)
    for batch in store.scan("centroids", encoder_id=encoder_id, where={"kind": COMBINATION_KIND}):
        stored_ids = batch.column("id").to_numpy()
        place = np.minimum(np.searchsorted(ids_C, stored_ids), len(ids_C) - 1)
        if not len(ids_C):
            break
        good = (ids_C[place] == stored_ids) & (counts_C[place] == batch.column("count").to_numpy())
        means_CD[place[good]] = vector_array(batch.column("vector"))[good]
        fresh_C[place[good]] = True
    rows_B = np.flatnonzero(~fresh_C[groups_M])
    if len(rows_B) > FULL_PASS_SHARE * len(ids_M):
        del means_CD
        found = combination_centroids(store, encoder_id, version=version, progress=progress)
        _write_combinations(store, encoder_id, found, np.arange(len(found)), version)
        return found, "all", len(ids_M)
    stale = np.flatnonzero(~fresh_C)
    if len(stale):
        group_B = np.searchsorted(stale, groups_M[rows_B])
        means_CD[stale] = _means_at(
            store, encoder_id, rows_B, group_B, version=version, progress=progress
        )
    weight_C = counts_C / max(len(ids_M), 1)
    mean_D = (weight_C @ means_CD).astype(np.float32)
    found = CombinationCentroids(ids_C, means_CD, counts_C.astype(np.int64), mean_D)
    _write_combinations(store, encoder_id, found, stale, version)
    return found, "changes" if len(stale) else "stored", len(rows_B)


def _means_at(
    store: Store,
    encoder_id: str,
    rows_B: NDArray[np.int64],
    group_B: NDArray[np.int64],
    *,
    version: int | None,
    progress: Progress,
) -> NDArray[np.float32]:
    """Means of the text vectors at these positions, by group."""
    groups = int(group_B.max()) + 1
    sums = GroupSums(groups, store.encoder(encoder_id).dim)
    with progress("changed texts", total=len(rows_B), unit="vectors") as bar:
        for low in range(0, len(rows_B), ROWS_PER_READ):
            block = slice(low, low + ROWS_PER_READ)
            vectors_BD = store.vectors_at(
                "text_vectors", rows_B[block], encoder_id=encoder_id, version=version
            )
            ones = np.ones(len(vectors_BD), dtype=np.int64)
            try:
                sums.add(vectors_BD, ones, group_B[block])
            except NonFiniteRowError as error:
                place = f"row {rows_B[block][error.row] + 1}"
                raise not_finite(store, "text_vectors", encoder_id, place) from None
            bar.advance(len(vectors_BD))
    means_GD = sums.sums()
    means_GD /= sums.counts_G[:, None].astype(np.float32)
    return means_GD


def _write_combinations(
    store: Store,
    encoder_id: str,
    found: CombinationCentroids,
    rows_B: NDArray[np.int64],
    version: int | None,
) -> None:
    """These combinations; each row stands for itself, so that blocks may be committed singly."""
    noted = json.dumps({store.table_name("text_vectors", encoder_id): version})
    for low in range(0, len(rows_B), _ROWS_PER_COMMIT):
        rows = rows_B[low : low + _ROWS_PER_COMMIT]
        n = len(rows)
        data: dict[str, Any] = {
            "kind": [COMBINATION_KIND] * n,
            "id": found.combination_ids[rows],
            "count": found.counts_C[rows],
            "source": ["texts"] * n,
            "dispersion": pa.nulls(n, pa.float32()),
            "versions": [noted] * n,
            "vector": vector_column(found.means_CD[rows], dtype=np.float32),
        }
        store.upsert("centroids", data, encoder_id=encoder_id)
