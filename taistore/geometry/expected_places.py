"""Image neighbours of texts: estimates for labels with few known images, and a check of offsets.

B batch, D embedding dimension, I images with a vector, K neighbours, L labels that are asked for,
N labels, Q queries.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.geometry.centroids import (
    CombinationCentroids,
    LabelCentroids,
    stored_combinations,
)
from taistore.geometry.image_neighbours import ImageNeighbours
from taistore.geometry.offsets import Float32, Shift, TextSide, gap_targets, modality_gap
from taistore.labels import PRESENT, UNKNOWN, LabelSet
from taistore.progress import Progress, no_progress
from taistore.store.combination_rows import CombinationIndex
from taistore.store.partial_labels import PartialLabels

CANDIDATES = 4
"""Neighbours fetched for each one wanted: those known not to show the label are passed over."""

PSEUDO_COUNTS = 4.0
"""Images that a label's expected place is worth beside the known ones."""

_QUERIES_PER_SEARCH = 8192
"""Many at once: an index that reads its vectors reads all of them for each search."""

_QUERIES_PER_LOOK = 256


def label_texts(
    texts: CombinationCentroids, index: CombinationIndex, side: TextSide, labels: LabelSet
) -> Float32:
    """A text vector for each label [N, D]: its own texts, else all texts of its combinations."""
    vectors_ND = side.means_ND.copy()
    own_N = np.array([labels.combination_id([n]) for n in range(len(labels))], dtype=np.int64)
    there = np.flatnonzero(np.isin(own_N, texts.combination_ids))
    vectors_ND[there] = texts.means_CD[texts.rows(own_N[there])]
    return vectors_ND


def neighbour_estimates(
    neighbours: ImageNeighbours, queries_LD: Float32, label_ids: NDArray[np.int64], *, k: int
) -> tuple[Float32, NDArray[np.int64]]:
    """Mean of the ``k`` images nearest to each label's query: [L, D], and how many those were.

    Images known not to show the label are passed over; unknown ones count.
    """
    members: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    groups: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    for low in range(0, len(label_ids), _QUERIES_PER_SEARCH):
        asked = label_ids[low : low + _QUERIES_PER_SEARCH]
        queries = queries_LD[low : low + _QUERIES_PER_SEARCH]
        _, found_QK = neighbours.index.search(queries, CANDIDATES * k)
        for first in range(0, len(asked), _QUERIES_PER_LOOK):
            rows_QK = found_QK[first : first + _QUERIES_PER_LOOK]
            label_Q1 = asked[first : first + _QUERIES_PER_LOOK, None]
            truth_QK = _truth(neighbours, neighbours.known, rows_QK, label_Q1)
            good_QK = (rows_QK >= 0) & (truth_QK != 0)
            good_QK &= np.cumsum(good_QK, axis=1) <= k
            members.append(rows_QK[good_QK])
            groups.append(np.nonzero(good_QK)[0] + low + first)
    return neighbours.means(np.concatenate(members), np.concatenate(groups), len(label_ids))


def neighbour_targets(
    neighbours: ImageNeighbours,
    images: LabelCentroids,
    texts: CombinationCentroids,
    index: CombinationIndex,
    *,
    k: int,
    queries_ND: Float32 | None = None,
    side: TextSide | None = None,
) -> Float32:
    """What estimates may shrink towards [N, D]: the ``k`` images nearest to each label's query.

    ``queries_ND``: where a label's images are expected, by default its texts moved by the gap. A
    label without texts keeps its own image centroid, one without neighbours goes by the gap.
    ``side``: that of ``texts``, where the caller has it; building it reads all their means.
    """
    side = side or TextSide.build(texts, index, labels=images.labels)
    if queries_ND is None:
        queries_ND = label_texts(texts, index, side, neighbours.store.labels)
        queries_ND += modality_gap(images, side)
    asked = np.flatnonzero(side.counts_N)
    queries_LD = queries_ND if len(asked) == len(queries_ND) else queries_ND[asked]
    found_LD, counts_L = neighbour_estimates(neighbours, queries_LD, asked, k=k)
    # Only now, since memory is shortest while all images are searched.
    targets_ND = gap_targets(images, side)
    targets_ND[asked[counts_L > 0]] = found_LD[counts_L > 0]
    return targets_ND


def auto_neighbours(images: int) -> int:
    """Images that are taken for a label's own: one in 25, but at least 20 and at most 100.

    >>> auto_neighbours(300), auto_neighbours(1000), auto_neighbours(10**6)
    (20, 40, 100)
    """
    return min(max(20, images // 25), 100)


def expected_places(
    neighbours: ImageNeighbours,
    images: LabelCentroids,
    texts: CombinationCentroids,
    index: CombinationIndex,
    *,
    k: int,
    share: float = 1 / 2,
    rounds: int = 1,
    side: TextSide | None = None,
) -> Float32:
    """Where each label's images are expected [N, D]: ``share`` of the way from gap to neighbours.

    Neighbours know where images are, the gap leads to no wrong image: both together are better
    than either. Each of ``rounds`` looks the neighbours up from where the last one led. ``side``:
    see :func:`neighbour_targets`.
    """
    side = side or TextSide.build(texts, index, labels=images.labels)
    places_ND = None
    for _ in range(rounds):
        places_ND = neighbour_targets(
            neighbours, images, texts, index, k=k, queries_ND=places_ND, side=side
        )
        by_gap_ND = gap_targets(images, side)
        places_ND -= by_gap_ND
        places_ND *= np.float32(share)
        places_ND += by_gap_ND
    return gap_targets(images, side) if places_ND is None else places_ND


@dataclass(frozen=True, slots=True)
class NeighbourCheck:
    """Per label: which share of the images nearest to its texts is known to show it: [N].

    ``before_N`` and ``after_N`` the shift; NaN where no sampled text of the label had a neighbour
    of which that is known. ``texts_N``: texts that were looked at.
    """

    before_N: NDArray[np.float64]
    after_N: NDArray[np.float64]
    texts_N: NDArray[np.int64]


def check_shift(
    neighbours: ImageNeighbours,
    shift: Shift,
    index: CombinationIndex,
    *,
    truth: PartialLabels | None = None,
    k: int = 20,
    texts_per_label: int = 8,
    version: int | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> NeighbourCheck:
    """Look up the ``k`` images nearest to texts as they are and shifted; known cells alone count.

    Takes up to ``texts_per_label`` random texts for each label, and all labels of each. The same
    known images that made the centroids are searched: this shows whether the offsets lead to the
    right images, not how well they would do on others, unless ``truth`` (of the same images)
    knows more than they did.
    """
    truth = neighbours.known if truth is None else truth
    store, encoder_id = neighbours.store, neighbours.encoder_id
    labels = neighbours.known.labels
    ids_M = stored_combinations(store, "text_vectors", encoder_id, version)
    positions_Q = _sampled_texts(ids_M, index, texts_per_label, seed)
    hits, cells = np.zeros((2, labels)), np.zeros((2, labels))
    texts_N = np.zeros(labels, dtype=np.int64)
    with progress("check offsets", total=len(positions_Q), unit="texts") as bar:
        for low in range(0, len(positions_Q), _QUERIES_PER_SEARCH):
            positions = positions_Q[low : low + _QUERIES_PER_SEARCH]
            ids_B = ids_M[positions]
            counts_B, label_P = index.positives(ids_B)
            texts_N += np.bincount(label_P, minlength=labels)
            texts_BD = store.vectors_at(
                "text_vectors", positions, encoder_id=encoder_id, version=version
            ).astype(np.float32)
            for step, queries_BD in enumerate((texts_BD, texts_BD + shift.offsets(ids_B))):
                _, rows_BK = neighbours.index.search(queries_BD, k)
                rows_PK = np.repeat(rows_BK, counts_B, axis=0)
                truth_PK = _truth(neighbours, truth, rows_PK, label_P[:, None])
                hits[step] += np.bincount(label_P, (truth_PK == PRESENT).sum(axis=1), labels)
                cells[step] += np.bincount(label_P, (truth_PK != UNKNOWN).sum(axis=1), labels)
            bar.advance(len(positions))
    share = np.divide(hits, cells, out=np.full_like(hits, np.nan), where=cells > 0)
    return NeighbourCheck(share[0], share[1], texts_N)


def _sampled_texts(
    ids_M: NDArray[np.int64], index: CombinationIndex, per_label: int, seed: int
) -> NDArray[np.int64]:
    """Positions, ascending, of random texts: up to ``per_label`` for each label."""
    order = np.random.default_rng(seed).permutation(len(ids_M))
    counts_M, label_P = index.positives(ids_M[order])
    text_P = np.repeat(order, counts_M)
    by_label = np.argsort(label_P, kind="stable")
    sizes_N = np.bincount(label_P)
    first_P = np.repeat(np.cumsum(sizes_N) - sizes_N, sizes_N)
    rank_P = np.arange(len(by_label)) - first_P
    return np.unique(text_P[by_label[rank_P < per_label]])


def _truth(
    neighbours: ImageNeighbours,
    known: PartialLabels,
    rows_QK: NDArray[np.int64],
    labels_QK: NDArray[Any],
) -> NDArray[np.int8]:
    """What is known of pairs of index row (-1: unknown) and label: 1, 0 or -1."""
    known_QK = neighbours.rows_I[np.maximum(rows_QK, 0)]
    truth_QK = known.cells(known_QK, np.broadcast_to(labels_QK, rows_QK.shape))
    truth_QK[rows_QK < 0] = UNKNOWN
    return truth_QK
