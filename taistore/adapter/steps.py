"""What a task trains on: steps of vectors with their known labels and perturbation radius.

B batch, D embedding dimension, I images, N labels, P positives and Q known negatives of a batch.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.loop import BatchSource
from taistore.adapter.loss import Loss, partial_bce_weights
from taistore.adapter.text_weights import TextWeights
from taistore.errors import TrainingError
from taistore.geometry.offsets import Shift
from taistore.geometry.perturbation import Where
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.store.stream import Positives, VectorBatch, VectorStream
from taistore.store.tables.label_lists import Ragged

_SCAN_ROWS = 65_536


class TrainingBatch(NamedTuple):
    """Vectors [B, D] of one kind; positives int64 [P] as ``row * N + label``.

    They are float16, as the store keeps them, and float32 where they are shifted: half the bytes
    go to a GPU.

    ``negatives`` int64 [Q] are the known ones, None where every other cell is negative. ``radius``
    is in the unit of the vectors, ``where`` on that sphere or in it, ``row_weights`` float32 [B]
    what each row's loss counts, None where all count the same.
    """

    vectors: torch.Tensor
    positives: torch.Tensor
    radius: float
    where: Where
    negatives: torch.Tensor | None = None
    row_weights: torch.Tensor | None = None


Step = tuple[TrainingBatch, ...]
"""The batches of one step: texts, images (labelled or synthetic), or texts and then images."""


class Source(BatchSource[Step], Protocol):
    """The data of a task."""

    def texts(self) -> Iterator[TrainingBatch]:
        """Text batches of the first epoch: what a network starts from and is measured on."""
        ...


class CombinationSource:
    """Vectors that show the labels of their combination and no others, all with one radius.

    Texts of one encoder, shifted where there is a shift, or its synthetic images. ``weights`` say
    what the texts of each writer count in the loss.
    """

    def __init__(
        self,
        stream: VectorStream,
        *,
        labels: int,
        radius: float,
        where: Where = "surface",
        shift: Shift | None = None,
        weights: TextWeights | None = None,
    ) -> None:
        self._stream = stream
        self._labels = labels
        self._radius = radius
        self._where: Where = where
        self._shift = shift
        self._weights = weights

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every epoch."""
        return self._stream.batches_per_epoch

    def texts(self) -> Iterator[TrainingBatch]:
        """Batches of the first epoch."""
        return map(self._batch, self._stream.batches(epoch=0))

    def batches(self, *, epoch: int, start: int) -> Iterator[Step]:
        """Batches of an epoch from ``start`` on, one a step."""
        for batch in self._stream.batches(epoch=epoch, start=start):
            yield (self._batch(batch),)

    def _batch(self, batch: VectorBatch) -> TrainingBatch:
        vectors_BD = torch.from_numpy(batch.vectors)
        if self._shift is not None:
            vectors_BD = vectors_BD.float()
            vectors_BD += torch.from_numpy(self._shift.offsets(batch.keys))
        rows_P = np.repeat(np.arange(len(batch.counts)), batch.counts)
        weights = self._weights
        return TrainingBatch(
            vectors_BD,
            torch.from_numpy(rows_P * self._labels + batch.label_ids),
            self._radius,
            self._where,
            row_weights=None if weights is None else torch.from_numpy(weights.take(batch.rows)),
        )


class ImageSource:
    """The image vectors of one encoder with what is known of their labels, all with one radius.

    ``loss``: ``partial-bce`` weighs each image by what is known of it.
    """

    def __init__(
        self,
        stream: VectorStream,
        known: PartialLabels,
        *,
        radius: float,
        where: Where = "surface",
        loss: Loss,
    ) -> None:
        self._stream = stream
        self._known = known
        self._radius = radius
        self._where: Where = where
        self._loss: Loss = loss

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every epoch."""
        return self._stream.batches_per_epoch

    def batches(self, *, epoch: int, start: int) -> Iterator[Step]:
        """Batches of an epoch from ``start`` on, one a step."""
        for batch in self._stream.batches(epoch=epoch, start=start):
            yield (self._batch(batch),)

    def _batch(self, batch: VectorBatch) -> TrainingBatch:
        labels = self._known.labels
        found = self._known.take(self._known.find(batch.keys.tolist()))
        negatives = None if found.complete.all() else _negatives(found)
        weights_B: torch.Tensor | None = None
        if self._loss == "partial-bce":
            weights_B = partial_bce_weights(torch.from_numpy(found.known_counts), labels)
        return TrainingBatch(
            torch.from_numpy(batch.vectors),
            torch.from_numpy(_flat(found.positives, labels)),
            self._radius,
            self._where,
            None if negatives is None else torch.from_numpy(negatives),
            weights_B,
        )


class MixedSource:
    """Texts and images: a step takes a batch of each (Eq. 6 of arXiv:2312.04160).

    The images are labelled (:class:`ImageSource`) or synthetic (:class:`CombinationSource`). An
    epoch is one pass over the texts; the images are passed over as often as that takes, each time
    in another order. With ``texts_too`` False the texts only set the length of an epoch. All is
    known of a text, which counts 1 whatever the loss of the images.
    """

    def __init__(
        self, texts: CombinationSource, images: BatchSource[Step], *, texts_too: bool
    ) -> None:
        self._texts = texts
        self._images = images
        self._texts_too = texts_too

    @property
    def batches_per_epoch(self) -> int:
        """Steps of every epoch: those of the texts."""
        return self._texts.batches_per_epoch

    def texts(self) -> Iterator[TrainingBatch]:
        """Text batches of the first epoch."""
        return self._texts.texts()

    def batches(self, *, epoch: int, start: int) -> Iterator[Step]:
        """Steps of an epoch from ``start`` on."""
        images = self._endless(epoch * self.batches_per_epoch + start)
        if not self._texts_too:
            for _ in range(start, self.batches_per_epoch):
                yield next(images)
            return
        for texts in self._texts.batches(epoch=epoch, start=start):
            yield (*texts, *next(images))

    def _endless(self, step: int) -> Iterator[Step]:
        epoch, start = divmod(step, self._images.batches_per_epoch)
        while True:
            yield from self._images.batches(epoch=epoch, start=start)
            epoch, start = epoch + 1, 0


def _flat(lists: Ragged, labels: int) -> NDArray[np.int64]:
    return lists.rows * labels + lists.label_ids


def _negatives(found: PartialLabels) -> NDArray[np.int64]:
    """Known negatives as ``row * N + label``, those among covered labels spelt out."""
    listed = _flat(found.negatives, found.labels)
    counts_B = np.minimum(found.covered, found.labels).astype(np.int64)
    if not counts_B.any():
        return listed
    firsts = np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
    rows = np.repeat(np.arange(len(counts_B)), counts_B)
    cells = rows * found.labels + (np.arange(len(rows)) - firsts)
    absent: NDArray[np.int64] = np.setdiff1d(cells, _flat(found.positives, found.labels))
    return np.union1d(listed, absent)


def text_stream(
    store: Store,
    encoder_id: str,
    *,
    batch: int,
    seed: int,
    positives: Callable[[NDArray[Any]], Positives] | None = None,
    positions: NDArray[np.int64] | None = None,
    version: int | None = None,
) -> VectorStream:
    """The text vectors of an encoder, or those at ``positions``, shuffled.

    ``positives``: those of the store's combination index, where the caller has it.
    """
    return VectorStream(
        store,
        encoder_id,
        batch_rows=batch,
        seed=seed,
        positives=positives,
        positions=positions,
        version=version,
    )


def image_stream(
    store: Store,
    encoder_id: str,
    known: PartialLabels,
    *,
    batch: int,
    seed: int,
    version: int | None = None,
) -> VectorStream:
    """The vectors of the images of which some label is known, shuffled.

    Raises :class:`TrainingError` where none of them has a vector of this encoder.
    """
    usable_I = known.known
    positions: list[NDArray[np.int64]] = [np.empty(0, np.int64)]
    seen = 0
    for rows in store.scan(
        "image_vectors",
        columns=["image_id"],
        encoder_id=encoder_id,
        batch_rows=_SCAN_ROWS,
        version=version,
    ):
        found = known.find(rows.column(0))
        here = np.flatnonzero(found >= 0)
        positions.append(here[usable_I[found[here]]] + seen)
        seen += rows.num_rows
    there = np.concatenate(positions)
    if not len(there):
        raise TrainingError(
            f"{store.uri}: none of the {int(usable_I.sum()):,} labelled images has a vector of "
            f"{store.encoder(encoder_id).spec}: run 'taistore ingest-images' with this encoder"
        )

    def no_labels(keys: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        return np.zeros(len(keys), np.int64), np.empty(0, np.int32)

    return VectorStream(
        store,
        encoder_id,
        batch_rows=batch,
        seed=seed,
        kind="image_vectors",
        key_column="image_id",
        positives=no_labels,
        positions=there,
        version=version,
    )
