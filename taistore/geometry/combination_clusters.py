"""The label combinations that most images show, with their images and centroids, for a picture.

Fig. 7 and 10 of arXiv:2312.04160. D embedding dimension, I images, K combinations, N labels,
P pictured images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store

Float32 = NDArray[np.float32]

IMAGES_DRAWN = 150
"""Of each combination, at most."""

_IMAGES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class CombinationClusters:
    """K combinations, most images first; ``label_ids`` holds the labels of each.

    ``vectors_PD`` are random images of theirs, ``clusters_P`` the combination of each.
    ``true_KD`` is the mean of all images that show just these labels, ``estimates_KD`` the mean
    of the labels' estimated centroids, as in Eq. 9; NaN where one of the labels has none.
    """

    label_ids: tuple[tuple[int, ...], ...]
    vectors_PD: Float32
    clusters_P: NDArray[np.int64]
    estimates_KD: Float32
    true_KD: Float32


def combination_clusters(
    store: Store,
    encoder_id: str,
    known: PartialLabels,
    estimates_ND: Float32,
    *,
    clusters: int,
) -> CombinationClusters:
    """Those ``clusters`` combinations of ``known`` that most images show.

    An image's combination is all labels that it is known to show. ``estimates_ND`` [N, D] holds
    NaN where a label has no estimate. Raises :class:`StoreError` where no image with a vector is
    known to show a label.
    """
    of_image_I = _combinations(known)
    shown, counts = np.unique(of_image_I[of_image_I != 0], return_counts=True)
    found: list[tuple[tuple[int, ...], Float32]] = []
    for key in shown[np.argsort(-counts, kind="stable")]:
        if len(found) == clusters:
            break
        rows = np.flatnonzero(of_image_I == key)
        vectors_JD = _vectors(store, encoder_id, known, rows)
        if len(vectors_JD):
            labels = known.positives.take(rows[:1]).label_ids
            found.append((tuple(sorted(set(labels.tolist()))), vectors_JD))
    if not found:
        raise StoreError(
            f"{store.uri}: no image with a vector is known to show a label: there is nothing to "
            "draw, leave plots= out"
        )
    random = np.random.default_rng(0)
    drawn = [random.permutation(vectors_JD)[:IMAGES_DRAWN] for _, vectors_JD in found]
    return CombinationClusters(
        label_ids=tuple(labels for labels, _ in found),
        vectors_PD=np.concatenate(drawn),
        clusters_P=np.repeat(np.arange(len(drawn)), [len(part) for part in drawn]),
        estimates_KD=np.stack([estimates_ND[list(labels)].mean(axis=0) for labels, _ in found]),
        true_KD=np.stack([vectors_JD.mean(axis=0) for _, vectors_JD in found]),
    )


def _combinations(known: PartialLabels) -> NDArray[np.uint64]:
    """A number for each image's set of labels [I], 0 for none: equal sets, equal numbers."""
    # Sums of random 64-bit numbers: no order of labels, and two sets meet by a chance of 2**-64.
    of_label_N = np.random.default_rng(0).integers(
        1, 2**64 - 1, size=known.labels, dtype=np.uint64, endpoint=True
    )
    cells = np.unique(known.positives.rows * known.labels + known.positives.label_ids)
    rows, label_ids = np.divmod(cells, max(known.labels, 1))
    keys_I = np.zeros(len(known), np.uint64)
    np.add.at(keys_I, rows, of_label_N[label_ids])
    return keys_I


def _vectors(
    store: Store, encoder_id: str, known: PartialLabels, rows: NDArray[np.int64]
) -> Float32:
    """The vectors [J, D] of those of these images that have one."""
    ids = [image_id.decode() for image_id in known.image_ids[rows].tolist()]
    parts = []
    for low in range(0, len(ids), _IMAGES_AT_ONCE):
        block = ids[low : low + _IMAGES_AT_ONCE]
        lacking = set(store.missing("image_vectors", block, encoder_id=encoder_id))
        there = [image_id for image_id in block if image_id not in lacking]
        if there:
            vectors = store.vectors("image_vectors", there, encoder_id=encoder_id)
            parts.append(vectors.astype(np.float32))
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
