"""Where a run expects each label's images: the images' side of Eq. 9 of arXiv:2312.04160.

D embedding dimension, N labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.adapter.freed_memory import give_back
from taistore.errors import TrainingError
from taistore.geometry.centroids import (
    CombinationCentroids,
    LabelCentroids,
    label_centroids,
    synthetic_centroids,
)
from taistore.geometry.expected_places import auto_neighbours, expected_places
from taistore.geometry.image_neighbours import ImageNeighbours
from taistore.geometry.offsets import ImageSide, TextSide
from taistore.progress import Progress, no_progress
from taistore.store.combination_rows import CombinationIndex
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store

SYNTHETIC_PSEUDO_COUNTS = 0.5
"""Synthetic images that the common gap is worth. Their labels are not in doubt: the plain form (0)
is as good, but leaves the texts of a label without any where they are, apart from all others."""


@dataclass(kw_only=True)
class SideBuilder:
    """Builds the images' side of one run at its table versions.

    ``searched`` names the index that found neighbours, once one did. ``device`` adds up and
    searches.
    """

    store: Store
    encoder_id: str
    config: TrainConfig
    versions: Mapping[str, int]
    device: str
    progress: Progress = no_progress
    searched: str = ""

    def of_synthetic(self, texts: CombinationCentroids, index: CombinationIndex) -> ImageSide:
        """Each label's centroid (Eq. 7) is that of its synthetic images, hardly shrunk."""
        images = synthetic_centroids(
            self.store,
            self.encoder_id,
            index,
            version=self._version("synthetic_vectors"),
            device=self.device,
            progress=self.progress,
        )
        side = TextSide.build(texts, index, labels=images.labels)
        return ImageSide.build(images, side, pseudo_counts=SYNTHETIC_PSEUDO_COUNTS)

    def of_images(
        self, known: PartialLabels, texts: CombinationCentroids, index: CombinationIndex
    ) -> ImageSide:
        """Each label's image centroid (Eq. 7), shrunk unless the shift is plain.

        Raises :class:`TrainingError` where no image has a vector.
        """
        store, config = self.store, self.config
        images = label_centroids(
            store,
            self.encoder_id,
            known,
            version=self._version("image_vectors"),
            device=self.device,
            progress=self.progress,
        )
        if not (images.counts_N.any() if config.task != "zsl" else images.images):
            which = "images" if config.task == "zsl" else "images known to show a label"
            raise TrainingError(
                f"{store.uri}: none of the {which} has a vector of "
                f"{store.encoder(self.encoder_id).spec}: run 'taistore ingest-images' with this "
                "encoder"
            )
        side = TextSide.build(texts, index, labels=images.labels)
        if config.shift == "plain":
            return ImageSide.build(images, side, pseudo_counts=0.0)
        targets_ND = self._near_targets(known, images, side, texts, index)
        return ImageSide.build(
            images, side, pseudo_counts=config.pseudo_counts, targets_ND=targets_ND
        )

    def _near_targets(
        self,
        known: PartialLabels,
        images: LabelCentroids,
        side: TextSide,
        texts: CombinationCentroids,
        index: CombinationIndex,
    ) -> NDArray[np.float32]:
        """Where each label's images are expected [N, D]."""
        rounds, share = self.config.neighbour_rule
        give_back()
        neighbours = ImageNeighbours.build(
            self.store,
            self.encoder_id,
            known,
            kind=self.config.neighbour_index,
            queries=rounds * known.labels,
            device=self.device,
            version=self._version("image_vectors"),
            progress=self.progress,
        )
        self.searched = neighbours.index.name
        k = self.config.neighbours or auto_neighbours(len(known))
        return expected_places(
            neighbours, images, texts, index, k=k, share=share, rounds=rounds, side=side
        )

    def _version(self, kind: str) -> int | None:
        return self.versions.get(self.store.table_name(kind, self.encoder_id))
