"""Synthetic images as a training reads them: images made from texts, whose labels are the texts'.

They lie in tables of their own and are never among the store's images. N labels.
"""

import numpy as np

from taistore.adapter.inputs.read_tables import rows_of_labels
from taistore.errors import TrainingError
from taistore.geometry.centroids import stored_combinations
from taistore.store.combination_rows import CombinationIndex
from taistore.store.store import Store
from taistore.store.stream import VectorStream


def require_synthetic(store: Store, encoder_id: str) -> None:
    """Raise :class:`TrainingError` where no synthetic image has a vector of the encoder."""
    if not store.count("synthetic_vectors", encoder_id):
        raise TrainingError(
            f"{store.uri}: holds no synthetic images for encoder "
            f"{store.encoder(encoder_id).spec!r}: make some of its texts with 'taistore "
            "generate-images', or train with learn_from=texts and another shift"
        )


def synthetic_stream(
    store: Store,
    encoder_id: str,
    index: CombinationIndex,
    *,
    batch: int,
    seed: int,
    version: int | None = None,
) -> VectorStream:
    """The vectors of an encoder's synthetic images, shuffled, with the labels of their texts.

    Raises :class:`TrainingError` where none of them is of a label of the run.
    """
    seen = rows_of_labels(store, "synthetic_vectors", encoder_id, index, version)
    if seen is not None and not len(seen):
        raise TrainingError(
            f"{store.uri}: no synthetic image is of any of these labels: make some with "
            "'taistore generate-images', or train with learn_from=texts"
        )
    return VectorStream(
        store,
        encoder_id,
        batch_rows=batch,
        seed=seed,
        kind="synthetic_vectors",
        positives=index.positives,
        positions=seen,
        version=version,
    )


def describe_synthetic(
    store: Store, encoder_id: str, index: CombinationIndex, *, version: int | None = None
) -> dict[str, int]:
    """Counts for the run's metrics: synthetic images, and labels of which none was made."""
    ids_M = stored_combinations(store, "synthetic_vectors", encoder_id, version)
    counts_M, _ = index.positives(ids_M)
    _, label_ids = index.positives(np.unique(ids_M))
    shown_N = np.bincount(label_ids, minlength=len(store.labels)) > 0
    return {
        "synthetic_images": int((counts_M > 0).sum()),
        "labels_without_synthetic_image": int((~shown_N).sum()),
    }
