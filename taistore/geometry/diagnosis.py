"""What a store's centroids look like, label by label, and whether offsets lead to right images.

D embedding dimension, I images, N labels.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from taistore.errors import StoreError
from taistore.geometry.centroids import LabelCentroids, combination_centroids, label_centroids
from taistore.geometry.expected_places import (
    PSEUDO_COUNTS,
    NeighbourCheck,
    auto_neighbours,
    check_shift,
    expected_places,
)
from taistore.geometry.image_neighbours import ImageNeighbours
from taistore.geometry.offsets import Float32, Shift, TextSide
from taistore.progress import Progress, no_progress
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store


@dataclass(frozen=True, slots=True)
class LabelLine:
    """One label; ``source`` of its estimate is images, shrunk, neighbours or none.

    ``dispersion``: mean squared distance of its images to their centroid. ``distance``: from the
    mean of its texts to that centroid, ``error`` (with ``known``) from the estimate to the
    centroid of all images. ``before`` and ``after`` the shift: share of the images nearest to its
    texts that are known to show it. None where nothing is known.
    """

    key: str
    name: str
    images: int
    dispersion: float | None
    distance: float | None
    source: str
    before: float | None
    after: float | None
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """All labels, what a picture of it needs, and what was drawn of it.

    ``estimates_ND`` are the estimated image centroids, NaN where a label has none.
    """

    split: str
    images: int
    without_vector: int
    shift: dict[str, float | int]
    labels: tuple[LabelLine, ...]
    estimates_ND: Float32
    known: PartialLabels
    pictures: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; vectors are left out."""
        return {
            "split": self.split,
            "images": self.images,
            "images_without_vector": self.without_vector,
            "shift": self.shift,
            "before": _mean([line.before for line in self.labels]),
            "after": _mean([line.after for line in self.labels]),
            "labels": [{n: getattr(line, n) for n in LabelLine.__slots__} for line in self.labels],
        }


def survey(
    store: Store,
    encoder_id: str,
    every: PartialLabels,
    *,
    split: str,
    pseudo_counts: float = PSEUDO_COUNTS,
    k: int = 0,
    known: float | None = None,
    mask_seed: int = 0,
    progress: Progress = no_progress,
) -> Survey:
    """Estimate every label's place as ``pll`` does, and check the offsets that lead there.

    ``every`` is what is known of the images of ``split``. ``k`` images are searched for, 0: as
    many as :func:`auto_neighbours` says. ``known`` masks the labels of the split for an experiment
    (see ``PartialLabels.masked``): the estimates then come from what is left, and all is used to
    check them. Raises :class:`StoreError` where no image of the split, or no text, has a vector.
    """
    index = store.combination_index()
    everything = label_centroids(store, encoder_id, every, dispersions=True, progress=progress)
    texts = combination_centroids(store, encoder_id, index=index, progress=progress)
    if not everything.images or not len(texts):
        kind, command = ("text", "generate-texts") if everything.images else (
            "image",
            "ingest-images",
        )  # fmt: skip
        raise StoreError(
            f"{store.uri}: no {kind} of split {split!r} has a vector of "
            f"{store.encoder(encoder_id).spec}: add them with 'taistore {command}'"
        )
    labels = every if known is None else every.masked(known, seed=mask_seed)
    images = everything
    if known is not None:
        images = label_centroids(store, encoder_id, labels, dispersions=True, progress=progress)
    k = k or auto_neighbours(len(labels))
    neighbours = ImageNeighbours.build(store, encoder_id, labels, progress=progress)
    targets_ND = None
    if pseudo_counts > 0:
        targets_ND = expected_places(neighbours, images, texts, index, k=k)
    shift = Shift.build(images, texts, index, pseudo_counts=pseudo_counts, targets_ND=targets_ND)
    check = check_shift(neighbours, shift, index, truth=every, k=k, progress=progress)
    side = TextSide.build(texts, index, labels=images.labels)
    true = everything if known is not None else None
    return Survey(
        split=split,
        images=images.images,
        without_vector=images.without_vector,
        shift=shift.report(),
        labels=_lines(store, images, side, shift, check=check, true=true),
        estimates_ND=np.where(
            shift.images.covered_N[:, None], shift.images.estimates_ND, np.float32(np.nan)
        ),
        known=every,
    )


def _lines(
    store: Store,
    images: LabelCentroids,
    side: TextSide,
    shift: Shift,
    *,
    check: NeighbourCheck,
    true: LabelCentroids | None,
) -> tuple[LabelLine, ...]:
    distance_N = np.linalg.norm(images.means_ND - side.means_ND, axis=1).astype(np.float64)
    distance_N[(images.counts_N == 0) | (side.counts_N == 0)] = np.nan
    error_N = np.full(images.labels, np.nan)
    if true is not None:
        error_N = np.linalg.norm(shift.images.estimates_ND - true.means_ND, axis=1).astype(
            np.float64
        )
        error_N[(true.counts_N == 0) | ~shift.images.covered_N] = np.nan
    return tuple(
        LabelLine(
            key=label.key,
            name=label.name,
            images=int(images.counts_N[n]),
            dispersion=_value(images.dispersions_N[n]),
            distance=_value(distance_N[n]),
            source=_source(images.counts_N[n], shift, n),
            before=_value(check.before_N[n]),
            after=_value(check.after_N[n]),
            error=_value(error_N[n]),
        )
        for n, label in enumerate(store.labels)
    )


def _source(count: int, shift: Shift, label_id: int) -> str:
    if not shift.images.covered_N[label_id]:
        return "none"
    if not count:
        return "neighbours"
    return "shrunk" if shift.images.pseudo_counts > 0 else "images"


def _value(number: float) -> float | None:
    return None if np.isnan(number) else float(number)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
