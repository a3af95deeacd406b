"""Offsets that shift texts towards the images with their labels (Eq. 9-10), plain and shrunk.

Equations of arXiv:2312.04160. The plain form takes a label's image centroid as it is, and the
centroid of a few images is mostly noise. The shrunk form is an estimate between that centroid and
where the label's texts would lie if every label had the same modality gap, weighted by counts.

B batch, C combinations with texts, D embedding dimension, N labels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from taistore.geometry.centroids import CombinationCentroids, LabelCentroids
from taistore.store.combination_rows import CombinationIndex

Float32 = NDArray[np.float32]

_BLOCK_ROWS = 8192
_REPORTED_ROWS = 1024
"""Offsets that are measured at once: four arrays of as many rows."""


@dataclass(frozen=True, slots=True)
class TextSide:
    """Where texts lie, per label: mean [N, D] over all texts of combinations that hold it.

    ``counts_N`` such texts; a label without any has the mean 0.
    """

    means_ND: Float32
    counts_N: NDArray[np.int64]

    @classmethod
    def build(
        cls, texts: CombinationCentroids, index: CombinationIndex, *, labels: int
    ) -> "TextSide":
        """From combination centroids, each weighted by its number of texts, block by block."""
        counts_N = np.zeros(labels, dtype=np.float64)
        sums_ND = np.zeros((labels, texts.means_CD.shape[1]), dtype=np.float32)
        for low in range(0, len(texts), _BLOCK_ROWS):
            rows = slice(low, low + _BLOCK_ROWS)
            holds_BN = _membership(index, texts.combination_ids[rows], labels)
            weight_BN = holds_BN.multiply(texts.counts_C[rows, None].astype(np.float32)).tocsr()
            counts_N += np.asarray(weight_BN.sum(axis=0), dtype=np.float64).reshape(-1)
            sums_ND += weight_BN.T @ texts.means_CD[rows]
        # In their place: at 7,186 labels of 1,024 dimensions every copy takes 28 MiB.
        sums_ND /= np.maximum(counts_N, 1)[:, None].astype(np.float32)
        return cls(sums_ND, counts_N.round().astype(np.int64))


def modality_gap(images: LabelCentroids, texts: TextSide) -> Float32:
    """The common gap [D]: mean over labels of image centroid minus text mean, by image count.

    Where no label has a known image, from the mean of all images to the mean of the labels'
    texts; 0 without images.
    """
    weight_N = np.where(texts.counts_N > 0, images.counts_N, 0).astype(np.float64)
    if not weight_N.any():
        there_N = texts.counts_N > 0
        if not (images.images and there_N.any()):
            return np.zeros(images.means_ND.shape[1], dtype=np.float32)
        unlabelled_D: Float32 = images.mean_D - texts.means_ND[there_N].mean(axis=0)
        return unlabelled_D
    weight_N /= weight_N.sum()
    # Not ``@``, which would make float64 copies of both.
    from_D, to_D = (
        np.einsum("n,nd->d", weight_N, side.means_ND, dtype=np.float64) for side in (texts, images)
    )
    gap_D: Float32 = (to_D - from_D).astype(np.float32)
    return gap_D


def gap_targets(images: LabelCentroids, texts: TextSide) -> Float32:
    """What estimates shrink towards [N, D]: the label's text mean, moved by the common gap.

    A label without texts keeps its own image centroid.
    """
    targets_ND: Float32 = texts.means_ND + modality_gap(images, texts)
    without = texts.counts_N == 0
    targets_ND[without] = images.means_ND[without]
    return targets_ND


def shrunk(images: LabelCentroids, targets_ND: Float32, *, pseudo_counts: float) -> Float32:
    """Estimated image centroids [N, D]: ``(count * centroid + k * target) / (count + k)``.

    ``pseudo_counts`` (k) is how many images the target is worth; 0 is Eq. 7 as it stands. A label
    with neither images nor pseudo-counts stays 0.
    """
    if not (np.isfinite(pseudo_counts) and pseudo_counts >= 0):
        raise ValueError(f"pseudo_counts must be a number of at least 0, not {pseudo_counts}")
    total_N = images.counts_N + pseudo_counts
    weight_N = np.divide(
        images.counts_N, total_N, out=np.zeros(images.labels), where=total_N > 0
    ).astype(np.float32)
    estimate_ND: Float32 = weight_N[:, None] * images.means_ND
    if pseudo_counts > 0:
        estimate_ND += (1 - weight_N)[:, None] * targets_ND
    return estimate_ND


@dataclass(frozen=True, slots=True)
class ImageSide:
    """All that Eq. 9 needs of the images: what a run keeps, so that it shifts texts again alike.

    ``estimates_ND``: the image centroids that offsets go by (Eq. 7, or :func:`shrunk`);
    ``covered_N``: which labels have one; ``counts_N``: images known to show each. ``gap_D`` is the
    common gap, ``pseudo_counts`` what the estimates were shrunk with.
    """

    estimates_ND: Float32
    covered_N: NDArray[np.bool_]
    counts_N: NDArray[np.int64]
    gap_D: Float32
    pseudo_counts: float

    @classmethod
    def build(
        cls,
        images: LabelCentroids,
        texts: TextSide,
        *,
        pseudo_counts: float,
        targets_ND: Float32 | None = None,
    ) -> "ImageSide":
        """Shrink towards ``targets_ND``, by default :func:`gap_targets`; ``pseudo_counts`` 0 is
        the paper's plain form.

        ``expected_places.expected_places`` are better targets, at the price of a search.
        """
        if targets_ND is None:
            targets_ND = gap_targets(images, texts)
        covered_N = images.counts_N > 0
        if pseudo_counts > 0 and images.images:
            covered_N = covered_N | (texts.counts_N > 0)
        return cls(
            estimates_ND=shrunk(images, targets_ND, pseudo_counts=pseudo_counts),
            covered_N=covered_N,
            counts_N=images.counts_N,
            gap_D=modality_gap(images, texts),
            pseudo_counts=pseudo_counts,
        )


@dataclass(frozen=True, slots=True)
class Shift:
    """Eq. 9 for every combination with texts, computed when it is asked for.

    A label that ``images`` do not cover moves nothing: it counts in Eq. 9 as an offset of 0.
    """

    images: ImageSide
    texts: CombinationCentroids
    index: CombinationIndex

    @classmethod
    def build(
        cls,
        images: LabelCentroids,
        texts: CombinationCentroids,
        index: CombinationIndex,
        *,
        pseudo_counts: float,
        targets_ND: Float32 | None = None,
    ) -> "Shift":
        """Offsets towards :meth:`ImageSide.build` of the same arguments."""
        side = TextSide.build(texts, index, labels=images.labels)
        found = ImageSide.build(images, side, pseudo_counts=pseudo_counts, targets_ND=targets_ND)
        return cls(found, texts, index)

    def offsets(self, combination_ids: NDArray[np.int64]) -> Float32:
        """The offset [B, D] of each: from its texts to the mean of its labels' estimates.

        KeyError on a combination that had no texts.
        """
        images = self.images
        rows_B = self.texts.rows(combination_ids)
        holds_BN = _membership(self.index, combination_ids, len(images.counts_N))
        sizes_B = np.maximum(np.asarray(holds_BN.sum(axis=1)).reshape(-1), 1).astype(np.float32)
        covered_BN = holds_BN.multiply(images.covered_N.astype(np.float32)[None, :]).tocsr()
        share_B = np.asarray(covered_BN.sum(axis=1)).reshape(-1) / sizes_B
        offsets_BD: Float32 = (covered_BN @ images.estimates_ND) / sizes_B[:, None]
        offsets_BD -= share_B[:, None] * self.texts.means_CD[rows_B]
        return offsets_BD

    def report(self) -> dict[str, float | int]:
        """What the shift rests on: labels by source of their estimate, and lengths."""
        seen_N, covered_N = self.images.counts_N > 0, self.images.covered_N
        ids_C = self.texts.combination_ids
        lengths_C = np.zeros(len(ids_C), dtype=np.float32)
        for low in range(0, len(ids_C), _REPORTED_ROWS):
            block = slice(low, low + _REPORTED_ROWS)
            lengths_C[block] = np.linalg.norm(self.offsets(ids_C[block]), axis=1)
        return {
            "labels": len(seen_N),
            "labels_with_images": int(seen_N.sum()),
            "labels_from_targets_alone": int((covered_N & ~seen_N).sum()),
            "labels_without_shift": int((~covered_N).sum()),
            "pseudo_counts": float(self.images.pseudo_counts),
            "combinations": len(self.texts),
            "combinations_without_shift": int((lengths_C == 0).sum()),
            "mean_offset_norm": float(lengths_C.mean()) if len(lengths_C) else 0.0,
            "gap_norm": float(np.linalg.norm(self.images.gap_D)),
        }


def _membership(
    index: CombinationIndex, combination_ids: NDArray[np.int64], labels: int
) -> csr_array:
    """Which labels each combination holds: sparse float32 [C, N]."""
    counts_C, label_ids = index.positives(combination_ids)
    starts = np.concatenate([[0], np.cumsum(counts_C)])
    ones = np.ones(len(label_ids), dtype=np.float32)
    return csr_array((ones, label_ids, starts), shape=(len(combination_ids), labels))
