"""Where synthetic images lie: each label's centroid of theirs, and how far it is from its photos.

D embedding dimension, N labels.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.geometry.centroids import (
    LabelCentroids,
    combination_centroids,
    label_centroids,
    synthetic_centroids,
)
from taistore.geometry.offsets import TextSide
from taistore.progress import Progress, no_progress
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.synthetic.image_pending import require_synthetic_images

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelGap:
    """One label: how many synthetic images, photos known to show it and texts it has, and the
    distances between the centroids of these three, None where it lacks one of the two.

    ``dispersion``: mean squared distance of its synthetic images to their centroid. ``sampling``:
    the distance between synthetic images and photos to expect of two samples of so few, if both
    came from one place; None of a single image, which tells nothing of it.
    """

    key: str
    name: str
    synthetic: int
    photos: int
    texts: int
    dispersion: float | None
    synthetic_to_photos: float | None
    sampling: float | None
    texts_to_photos: float | None
    synthetic_to_texts: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanGap:
    """Means over the ``labels`` that have synthetic images, photos and texts.

    ``common_synthetic`` and ``common_texts`` are lengths of the mean of the differences to the
    photos: what all labels share, as one shift would take away. ``nearer``: share of these labels
    whose synthetic images are nearer to their photos than their texts are.
    """

    labels: int
    synthetic_to_photos: float
    sampling: float | None
    texts_to_photos: float
    synthetic_to_texts: float
    common_synthetic: float
    common_texts: float
    nearer: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSurvey:
    """All labels, and their mean; None where no label has all three kinds.

    ``images`` synthetic images are held against the photos of ``split``, of which ``photos`` have a
    vector. Synthetic images are in no split themselves.
    """

    images: int
    split: str
    photos: int
    labels: tuple[LabelGap, ...]
    mean: MeanGap | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"kind": "synthetic", **asdict(self), "labels": [asdict(one) for one in self.labels]}


def synthetic_survey(
    store: Store, encoder_id: str, *, split: str = "train", progress: Progress = no_progress
) -> SyntheticSurvey:
    """The centroids of synthetic images (Eq. 7 of arXiv:2312.04160), of photos and of texts.

    Photos are those of ``split`` that are known to show a label; there may be none. Raises
    :class:`SyntheticError` where there is no synthetic image.
    """
    require_synthetic_images(store, encoder_id)
    index = store.combination_index()
    synthetic = synthetic_centroids(store, encoder_id, index, dispersions=True, progress=progress)
    known = PartialLabels.read(store, split=split)
    photos = label_centroids(store, encoder_id, known, dispersions=True, progress=progress)
    texts = combination_centroids(store, encoder_id, index=index, progress=progress)
    side = TextSide.build(texts, index, labels=len(store.labels))
    return SyntheticSurvey(
        images=synthetic.images,
        split=split,
        photos=photos.images,
        labels=_lines(store, synthetic, photos, side),
        mean=_mean(synthetic, photos, side),
    )


def _lines(
    store: Store, synthetic: LabelCentroids, photos: LabelCentroids, texts: TextSide
) -> tuple[LabelGap, ...]:
    made_ND, real_ND, text_ND = synthetic.means_ND, photos.means_ND, texts.means_ND
    has_synthetic, has_photos = synthetic.counts_N > 0, photos.counts_N > 0
    has_texts = texts.counts_N > 0
    distances: dict[str, NDArray[np.floating[Any]]] = {
        "dispersion": synthetic.dispersions_N,
        "synthetic_to_photos": _distances(made_ND, real_ND, has_synthetic & has_photos),
        "sampling": _sampling(synthetic, photos),
        "texts_to_photos": _distances(text_ND, real_ND, has_texts & has_photos),
        "synthetic_to_texts": _distances(made_ND, text_ND, has_synthetic & has_texts),
    }
    return tuple(
        LabelGap(
            key=label.key,
            name=label.name,
            synthetic=int(synthetic.counts_N[n]),
            photos=int(photos.counts_N[n]),
            texts=int(texts.counts_N[n]),
            **{name: None if np.isnan(of[n]) else float(of[n]) for name, of in distances.items()},
        )
        for n, label in enumerate(store.labels)
    )


def _mean(synthetic: LabelCentroids, photos: LabelCentroids, texts: TextSide) -> MeanGap | None:
    every = (synthetic.counts_N > 0) & (photos.counts_N > 0) & (texts.counts_N > 0)
    if not every.any():
        return None
    made_ND, real_ND, text_ND = (
        side.means_ND[every].astype(np.float64) for side in (synthetic, photos, texts)
    )
    made_N, text_N = (_lengths(side - real_ND) for side in (made_ND, text_ND))
    return MeanGap(
        labels=int(every.sum()),
        synthetic_to_photos=float(made_N.mean()),
        sampling=_mean_of(_sampling(synthetic, photos)[every]),
        texts_to_photos=float(text_N.mean()),
        synthetic_to_texts=float(_lengths(made_ND - text_ND).mean()),
        common_synthetic=float(np.linalg.norm((made_ND - real_ND).mean(axis=0))),
        common_texts=float(np.linalg.norm((text_ND - real_ND).mean(axis=0))),
        nearer=float((made_N < text_N).mean()),
    )


def _sampling(synthetic: LabelCentroids, photos: LabelCentroids) -> Float64:
    """Root of the summed squared errors of both means [N]; NaN where either has no two images."""
    squared_N = np.zeros(synthetic.labels)
    for side in (synthetic, photos):
        errors_N = side.dispersions_N / np.maximum(side.counts_N - 1, 1)
        squared_N += np.where(side.counts_N > 1, errors_N, np.nan)
    found_N: Float64 = np.sqrt(squared_N)
    return found_N


def _mean_of(values_n: Float64) -> float | None:
    known_n = values_n[~np.isnan(values_n)]
    return float(known_n.mean()) if len(known_n) else None


def _distances(one_ND: Float32, other_ND: Float32, there_N: NDArray[np.bool_]) -> Float64:
    """[N]; NaN where there is nothing to measure."""
    return np.where(there_N, _lengths(one_ND - other_ND), np.nan)


def _lengths(vectors_ND: NDArray[np.floating[Any]]) -> Float64:
    found_N: Float64 = np.linalg.norm(vectors_ND, axis=1).astype(np.float64)
    return found_N
