"""Vectors of some or all images of a split, drawn without regard to their labels.

S images, B images of a block, D embedding dimension.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taistore.geometry.image_neighbours import image_places
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store

BLOCK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class ImageSample:
    """Images that have a vector, by their positions in the vector table, ascending [S]."""

    store: Store
    encoder_id: str
    version: int | None
    positions_S: NDArray[np.int64]

    @classmethod
    def draw(
        cls,
        store: Store,
        encoder_id: str,
        known: PartialLabels,
        *,
        most: int,
        version: int | None = None,
    ) -> "ImageSample":
        """All of them, or ``most`` drawn at random, always the same."""
        _, positions_I = image_places(store, encoder_id, known, version or 0)
        return cls(store, encoder_id, version, positions_I).at_most(most)

    def at_most(self, most: int) -> "ImageSample":
        """Itself, or ``most`` of its images drawn at random, always the same."""
        if len(self) <= most:
            return self
        drawn = np.random.default_rng(0).choice(len(self), most, replace=False)
        return dataclasses.replace(self, positions_S=self.positions_S[np.sort(drawn)])

    def __len__(self) -> int:
        return len(self.positions_S)

    def blocks(self, rows_S: NDArray[np.int64] | None = None) -> Iterator[Tensor]:
        """Raw vectors float32 [B, D], a block at a time; of these rows, ascending, or of all."""
        places = self.positions_S if rows_S is None else self.positions_S[rows_S]
        for low in range(0, len(places), BLOCK_ROWS):
            found = self.store.vectors_at(
                "image_vectors",
                places[low : low + BLOCK_ROWS],
                encoder_id=self.encoder_id,
                version=self.version,
            )
            yield torch.from_numpy(found.astype(np.float32))
