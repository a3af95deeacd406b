"""Which tables and rows a training reads, at which versions: what its run is a function of."""

import numpy as np
from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.geometry.centroids import stored_combinations
from taistore.store.combination_rows import CombinationIndex
from taistore.store.store import Store


def read_versions(store: Store, encoder_id: str, config: TrainConfig) -> dict[str, int]:
    """The newest version of each table that a training with these settings reads, by its name."""
    read = [("labels", None), ("combinations", None), ("texts", None)]
    vectors: list[tuple[str, str | None]] = [("text_vectors", encoder_id)]
    if config.uses_images:
        read.append(("images", None))
        vectors.append(("image_vectors", encoder_id))
    if config.uses_synthetic:
        vectors.append(("synthetic_vectors", encoder_id))
    return store.versions([*read, *vectors])


def rows_of_labels(
    store: Store, kind: str, encoder_id: str, index: CombinationIndex, version: int | None
) -> NDArray[np.int64] | None:
    """The rows of a table of vectors that name a label which the store is read with; None: all."""
    if store.sees_all:
        return None
    counts_T, _ = index.positives(stored_combinations(store, kind, encoder_id, version))
    return None if counts_T.all() else np.flatnonzero(counts_T)
