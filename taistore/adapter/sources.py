"""What a task trains on: batches of vectors with their positives and perturbation radius.

B batch, D embedding dimension, N labels, P positives of the batch.
"""

from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch

from taistore.store.store import Store
from taistore.store.stream import VectorStream


class TrainingBatch(NamedTuple):
    """Vectors [B, D] float32; positives int64 [P] as ``row * N + label``; radius as vectors."""

    vectors: torch.Tensor
    positives: torch.Tensor
    radius: float


class Source(Protocol):
    """The data of a task. Few-shot and partial-label training bring their own."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every epoch."""
        ...

    @property
    def table_versions(self) -> dict[str, int]:
        """Version of every vector table that is read, by table name."""
        ...

    def batches(self, *, epoch: int, start: int) -> Iterator[TrainingBatch]:
        """Batches of an epoch from ``start`` on, on the CPU, the same for the same seed."""
        ...


class TextSource:
    """``zsl``: the text vectors of one encoder, all with one radius."""

    def __init__(self, stream: VectorStream, *, labels: int, radius: float) -> None:
        self._stream = stream
        self._labels = labels
        self._radius = radius

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every epoch."""
        return self._stream.batches_per_epoch

    @property
    def table_versions(self) -> dict[str, int]:
        """Version of the text vector table."""
        return {self._stream.name: self._stream.version}

    def batches(self, *, epoch: int, start: int) -> Iterator[TrainingBatch]:
        """Batches of an epoch from ``start`` on."""
        for batch in self._stream.batches(epoch=epoch, start=start):
            rows_P = np.repeat(np.arange(len(batch.counts)), batch.counts)
            positives_P = rows_P * self._labels + batch.label_ids
            yield TrainingBatch(
                torch.from_numpy(batch.vectors).float(),
                torch.from_numpy(positives_P),
                self._radius,
            )


def text_stream(
    store: Store, encoder_id: str, *, batch: int, seed: int, version: int | None = None
) -> VectorStream:
    """The text vectors of an encoder, shuffled."""
    return VectorStream(store, encoder_id, batch_rows=batch, seed=seed, version=version)
