"""The label combinations that most images show, with their images and centroids, for a picture.

Fig. 7 and 10 of arXiv:2312.04160. D embedding dimension, I images, K combinations, N labels,
P pictured images.
"""

from dataclasses import dataclass
from typing import NamedTuple

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
    random = np.random.default_rng(0)
    found: list[tuple[list[int], _Images]] = []
    for key in shown[np.argsort(-counts, kind="stable")]:
        if len(found) == clusters:
            break
        rows = np.flatnonzero(of_image_I == key)
        images = _images(store, encoder_id, known, random.permutation(rows))
        if images is not None:
            labels = known.positives.take(rows[:1]).label_ids
            found.append((sorted(set(labels.tolist())), images))
    if not found:
        raise StoreError(
            f"{store.uri}: no image with a vector is known to show a label: there is nothing to "
            "draw, leave plots= out"
        )
    drawn = [images.drawn_JD for _, images in found]
    return CombinationClusters(
        label_ids=tuple(tuple(labels) for labels, _ in found),
        vectors_PD=np.concatenate(drawn),
        clusters_P=np.repeat(np.arange(len(drawn)), [len(part) for part in drawn]),
        estimates_KD=np.stack([estimates_ND[labels].mean(axis=0) for labels, _ in found]),
        true_KD=np.stack([images.mean_D for _, images in found]),
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


class _Images(NamedTuple):
    """Some vectors [J, D] of a combination, and the mean [D] of all."""

    drawn_JD: Float32
    mean_D: Float32


def _images(
    store: Store, encoder_id: str, known: PartialLabels, rows: NDArray[np.int64]
) -> _Images | None:
    """Of those of these images that have a vector, block by block; the first ones are drawn."""
    ids = [image_id.decode() for image_id in known.image_ids[rows].tolist()]
    drawn: list[Float32] = []
    total_D, count = np.zeros(store.encoder(encoder_id).dim), 0
    for low in range(0, len(ids), _IMAGES_AT_ONCE):
        block = ids[low : low + _IMAGES_AT_ONCE]
        lacking = set(store.missing("image_vectors", block, encoder_id=encoder_id))
        there = [image_id for image_id in block if image_id not in lacking]
        if not there:
            continue
        vectors_BD = store.vectors("image_vectors", there, encoder_id=encoder_id).astype(np.float32)
        drawn.append(vectors_BD[: max(IMAGES_DRAWN - count, 0)])
        total_D += vectors_BD.sum(axis=0, dtype=np.float64)
        count += len(there)
    if not count:
        return None
    return _Images(np.concatenate(drawn), (total_D / count).astype(np.float32))
