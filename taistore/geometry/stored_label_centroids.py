"""Label centroids kept in the store, refreshed by reading only the images that have changed.

Kind "label" of the table ``centroids`` holds Eq. 7 of arXiv:2312.04160 for the images of one
split, "images" (id 0) the mean of all of them. B batch, D embedding dimension, I images, N labels.
"""

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.geometry.centroids import LabelCentroids, finished, label_centroids, not_finite
from taistore.geometry.group_sums import GroupSums, NonFiniteRowError
from taistore.progress import Progress
from taistore.store.arrow import vector_array, vector_column
from taistore.store.partial_labels import IMAGE_ID, PartialLabels
from taistore.store.store import Store

LABEL_KIND = "label"
IMAGES_KIND = "images"

FULL_PASS_SHARE = 0.25
"""Beyond this share of changed rows one pass over all costs less than fetching them singly."""

MAX_SHRINK = 16
"""A sum that lost more than this factor of its images keeps too few digits: it is made anew."""

ROWS_PER_READ = 4096


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the store holds: centroids, of which images, at which versions of which tables."""

    centroids: LabelCentroids
    source: str
    versions: dict[str, int]


def refresh_labels(
    store: Store, encoder_id: str, split: str | None, progress: Progress
) -> tuple[LabelCentroids, str, int]:
    """Centroids that are up to date; "stored", "changes" or "all"; vectors read."""
    table = store.table_name("image_vectors", encoder_id)
    versions = store.versions([("images", None), ("image_vectors", encoder_id)])
    source = "all images" if split is None else f"split {split}"
    known = PartialLabels.read(store, split=split, version=versions.get("images"))
    stored = _read_labels(store, encoder_id, source)
    if stored is not None and stored.versions == versions:
        without = len(known) - stored.centroids.images
        return replace(stored.centroids, without_vector=without), "stored", 0
    change = None
    if stored is not None and set(stored.versions) == set(versions) == {"images", table}:
        change = _change(store, encoder_id, known, split=split, then=stored.versions, now=versions)
    if stored is not None and change is not None:
        found = _changed(
            store,
            encoder_id,
            stored.centroids,
            change,
            version=versions[table],
            progress=progress,
        )
        if found is not None:
            _write_labels(store, encoder_id, _Stored(found, source, versions))
            return found, "changes", len(change.rows_B)
    found = label_centroids(
        store, encoder_id, known, version=versions.get(table), progress=progress
    )
    _write_labels(store, encoder_id, _Stored(found, source, versions))
    return found, "all", store.count("image_vectors", encoder_id)


@dataclass(frozen=True, slots=True)
class _Change:
    """Images to take out and to put in: positions [B] in the vector table, ids, labels.

    ``before`` and ``after`` hold an image's row in the labels then and now, -1 where it counted
    or counts for nothing.
    """

    rows_B: NDArray[np.int64]
    image_ids: NDArray[np.bytes_]
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    old: PartialLabels
    new: PartialLabels


def _change(
    store: Store,
    encoder_id: str,
    new: PartialLabels,
    *,
    split: str | None,
    then: dict[str, int],
    now: dict[str, int],
) -> _Change | None:
    """What differs between two versions; None where the older one is gone or too much differs."""
    table = store.table_name("image_vectors", encoder_id)
    if not (store.has_version("images", then["images"])):
        return None
    if not store.has_version("image_vectors", then[table], encoder_id=encoder_id):
        return None
    old = PartialLabels.read(store, split=split, version=then["images"])
    ids_I = _vector_ids(store, encoder_id, now[table])
    here_then = _vector_ids(store, encoder_id, then[table]) if then[table] != now[table] else ids_I
    rows_before, rows_after = old.find(ids_I), new.find(ids_I)
    rows_before[~np.isin(ids_I, here_then)] = -1
    same_I = (rows_before < 0) & (rows_after < 0)
    both = np.flatnonzero((rows_before >= 0) & (rows_after >= 0))
    same_I[both] = _same_positives(old, rows_before[both], new, rows_after[both])
    rows_B = np.flatnonzero(~same_I)
    if len(rows_B) > FULL_PASS_SHARE * len(ids_I):
        return None
    return _Change(rows_B, ids_I[rows_B], rows_before[rows_B], rows_after[rows_B], old, new)


def _same_positives(
    old: PartialLabels,
    old_rows_B: NDArray[np.int64],
    new: PartialLabels,
    new_rows_B: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether the positives of each pair of rows [B] are equal, in order."""
    one, other = old.positives.take(old_rows_B), new.positives.take(new_rows_B)
    same_B: NDArray[np.bool_] = one.counts == other.counts
    pairs = np.flatnonzero(same_B)
    one, other = one.take(pairs), other.take(pairs)
    differs = np.bincount(one.rows, weights=one.label_ids != other.label_ids, minlength=len(pairs))
    same_B[pairs] = differs == 0
    return same_B


def _changed(
    store: Store,
    encoder_id: str,
    stored: LabelCentroids,
    change: _Change,
    *,
    version: int,
    progress: Progress,
) -> LabelCentroids | None:
    """Take out what was and put in what is; None where too few digits of a sum would be left."""
    dim = stored.means_ND.shape[1]
    parts = [
        (GroupSums(stored.labels, dim), known, rows)
        for known, rows in ((change.old, change.before), (change.new, change.after))
    ]
    with progress("changed images", total=len(change.rows_B), unit="vectors") as bar:
        for low in range(0, len(change.rows_B), ROWS_PER_READ):
            block = slice(low, low + ROWS_PER_READ)
            vectors_BD = store.vectors_at(
                "image_vectors", change.rows_B[block], encoder_id=encoder_id, version=version
            )
            for sums, known, rows in parts:
                here = np.flatnonzero(rows[block] >= 0)
                positives = known.positives.take(rows[block][here])
                try:
                    sums.add(vectors_BD[here], positives.counts, positives.label_ids)
                except NonFiniteRowError as error:
                    name = change.image_ids[block][here[error.row]].decode()
                    raise not_finite(store, "image_vectors", encoder_id, f"image {name}") from None
            bar.advance(len(vectors_BD))
    minus, plus = parts[0][0], parts[1][0]
    counts_N = stored.counts_N - minus.counts_G + plus.counts_G
    if np.any((counts_N > 0) & (counts_N * MAX_SHRINK < stored.counts_N)):
        return None
    means_ND = stored.means_ND.astype(np.float64)
    lengths_N = np.einsum("nd,nd->n", means_ND, means_ND)
    squares_N = stored.counts_N * (np.nan_to_num(stored.dispersions_N) + lengths_N)
    sums_ND = means_ND * stored.counts_N[:, None] - minus.sums() + plus.sums()
    sums_ND[counts_N == 0] = 0.0
    images = stored.images - minus.rows + plus.rows
    return finished(
        sums_ND,
        counts_N,
        squares_N - minus.squares_G + plus.squares_G,
        stored.mean_D.astype(np.float64) * stored.images - minus.total() + plus.total(),
        vectors=images,
        without_vector=len(change.new) - images,
    )


def _vector_ids(store: Store, encoder_id: str, version: int) -> NDArray[np.bytes_]:
    """Ids [I] of all image vectors, by position."""
    parts = [np.empty(0, IMAGE_ID)]
    for batch in store.scan(
        "image_vectors",
        columns=["image_id"],
        encoder_id=encoder_id,
        batch_rows=65_536,
        version=version,
    ):
        parts.append(np.asarray(batch.column(0).to_pylist(), dtype=IMAGE_ID))
    return np.concatenate(parts)


def _read_labels(store: Store, encoder_id: str, source: str) -> _Stored | None:
    """The stored centroids of these images; None where there are none, or not all of one kind."""
    labels, dim = len(store.labels), store.encoder(encoder_id).dim
    means_ND = np.zeros((labels + 1, dim), dtype=np.float32)
    counts_N = np.full(labels + 1, -1, dtype=np.int64)
    dispersions_N = np.full(labels + 1, np.nan, dtype=np.float32)
    versions: set[str | None] = set()
    for batch in store.scan(
        "centroids", encoder_id=encoder_id, where={"kind": [LABEL_KIND, IMAGES_KIND]}
    ):
        rows = batch.drop_columns(["vector"]).to_pylist()
        place = [labels if row["kind"] == IMAGES_KIND else row["id"] for row in rows]
        if any(row["source"] != source for row in rows):
            return None
        means_ND[place] = vector_array(batch.column("vector"))
        counts_N[place] = [row["count"] for row in rows]
        dispersions_N[place] = [
            np.nan if row["dispersion"] is None else row["dispersion"] for row in rows
        ]
        versions |= {row["versions"] for row in rows}
    if (counts_N < 0).any() or len(versions) != 1:
        return None
    centroids = LabelCentroids(
        means_ND[:labels],
        counts_N[:labels],
        dispersions_N[:labels],
        means_ND[labels],
        int(counts_N[labels]),
    )
    return _Stored(centroids, source, json.loads(str(versions.pop())))


def _write_labels(store: Store, encoder_id: str, stored: _Stored) -> None:
    """All labels in one commit, so that there are never centroids of two versions."""
    found = stored.centroids
    n = found.labels
    dispersions = [None if np.isnan(value) else value for value in found.dispersions_N.tolist()]
    rows: dict[str, Any] = {
        "kind": [LABEL_KIND] * n + [IMAGES_KIND],
        "id": [*range(n), 0],
        "count": [*found.counts_N.tolist(), found.images],
        "source": [stored.source] * (n + 1),
        "dispersion": [*dispersions, None],
        "versions": [json.dumps(stored.versions, sort_keys=True)] * (n + 1),
        "vector": vector_column(
            np.concatenate([found.means_ND, found.mean_D[None]]), dtype=np.float32
        ),
    }
    store.upsert("centroids", rows, encoder_id=encoder_id)
