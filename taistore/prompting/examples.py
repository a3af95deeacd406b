"""What a prompt learner learns from: images with their regions, or texts with their tokens.

Shapes: B batch, D embedding dimension, N labels, L regions or tokens of the longest, padded.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from taistore.errors import TrainingError
from taistore.labels import ABSENT, PRESENT
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.store.stream import VectorBatch, VectorStream
from taistore.store.tables.ragged_vectors import (
    in_order,
    stored_regions,
    stored_synthetic_regions,
    stored_tokens,
)

_IDS = 10_000


class Examples(NamedTuple):
    """A batch: unit vectors of the whole [B, D] and of its parts [B, L, D], those that are there
    [B, L], and what is known of the labels, int8 [B, N]: 1, 0, or -1 for unknown."""

    whole_BD: Tensor
    local_BLD: Tensor
    there_BL: Tensor
    targets_BN: Tensor

    def to(self, device: torch.device) -> "Examples":
        """The same on a device."""
        return Examples(*(part.to(device, non_blocking=True) for part in self))


class ImageExamples:
    """The images of a stream, with what is known of them, at one version of their regions."""

    def __init__(
        self,
        store: Store,
        encoder_id: str,
        stream: VectorStream,
        known: PartialLabels,
        *,
        regions_version: int | None,
    ) -> None:
        self._store = store
        self._encoder_id = encoder_id
        self._stream = stream
        self._known = known
        self._version = regions_version

    @property
    def batches_per_epoch(self) -> int:
        """Those of the stream."""
        return self._stream.batches_per_epoch

    def batches(self, *, epoch: int, start: int) -> Iterator[Examples]:
        """Batches of an epoch from ``start`` on; the regions are read batch by batch."""
        for batch in self._stream.batches(epoch=epoch, start=start):
            ids = [str(image_id) for image_id in batch.keys.tolist()]
            found = stored_regions(self._store, self._encoder_id, ids, version=self._version)
            targets_BN = self._known.truth(self._known.find(ids))
            yield _examples(batch, in_order(found, ids, what="region"), targets_BN)


Parts = Literal["token", "region"]

_STORED = {"token": stored_tokens, "region": stored_synthetic_regions}


class TextExamples:
    """The texts of a stream with their tokens, or images that were made of texts with their
    ``parts``, the regions: labels that a text does not name are absent."""

    def __init__(
        self,
        store: Store,
        encoder_id: str,
        stream: VectorStream,
        *,
        labels: int,
        parts: Parts = "token",
        parts_version: int | None,
    ) -> None:
        self._store = store
        self._encoder_id = encoder_id
        self._stream = stream
        self._labels = labels
        self._parts: Parts = parts
        self._version = parts_version

    @property
    def batches_per_epoch(self) -> int:
        """Those of the stream."""
        return self._stream.batches_per_epoch

    def batches(self, *, epoch: int, start: int) -> Iterator[Examples]:
        """Batches of an epoch from ``start`` on; the parts are read batch by batch."""
        stored = _STORED[self._parts]
        for batch in self._stream.batches(epoch=epoch, start=start):
            ids = [str(one) for one in batch.keys.tolist()]
            found = stored(self._store, self._encoder_id, ids, version=self._version)
            targets_BN = np.full((len(ids), self._labels), ABSENT, np.int8)
            targets_BN[np.repeat(np.arange(len(ids)), batch.counts), batch.label_ids] = PRESENT
            yield _examples(batch, in_order(found, ids, what=self._parts), targets_BN)


def require_regions(store: Store, encoder_id: str, known: PartialLabels) -> None:
    """Raise :class:`TrainingError` where a labelled image has a vector and no regions."""
    ids_I = known.image_ids[known.known]
    lacking = 0
    for low in range(0, len(ids_I), _IDS):
        ids = [image_id.decode() for image_id in ids_I[low : low + _IDS].tolist()]
        whole = set(store.missing("image_vectors", ids, encoder_id=encoder_id))
        local = store.missing("region_vectors", ids, encoder_id=encoder_id)
        lacking += sum(image_id not in whole for image_id in local)
    if lacking:
        raise TrainingError(
            f"{store.uri}: {lacking:,} of {len(ids_I):,} labelled images have no region vectors of "
            f"{store.encoder(encoder_id).spec}, which prompts are learnt from: add them with "
            "'taistore ingest-images PHOTOS --regions 7'"
        )


def require_synthetic(store: Store, encoder_id: str) -> None:
    """Raise :class:`TrainingError` where there are no images made of texts, or one has no regions.

    Those are meant that have a vector of the encoder.
    """
    count = store.count("synthetic_vectors", encoder_id)
    spec = store.encoder(encoder_id).spec
    if not count:
        raise TrainingError(
            f"{store.uri}: holds no images made of texts for encoder {spec!r}: make some with "
            "'taistore generate-images --regions 7'"
        )
    lacking = 0
    for batch in store.scan(
        "synthetic_vectors", columns=["synthetic_id"], encoder_id=encoder_id, batch_rows=_IDS
    ):
        ids = [str(one) for one in batch.column(0).to_pylist()]
        lacking += len(store.missing("synthetic_regions", ids, encoder_id=encoder_id))
    if lacking:
        raise TrainingError(
            f"{store.uri}: {lacking:,} of {count:,} images made of texts have no region vectors of "
            f"{spec!r}, which prompts are learnt from: add them with 'taistore generate-images "
            "--regions 7'"
        )


def together(one: Examples, other: Examples) -> Examples:
    """Both batches as one, the parts of the shorter ones padded."""
    most = max(one.local_BLD.shape[1], other.local_BLD.shape[1])
    return Examples(*map(torch.cat, zip(_widened(one, most), _widened(other, most), strict=True)))


def _widened(batch: Examples, most: int) -> Examples:
    more = most - batch.local_BLD.shape[1]
    return batch._replace(
        local_BLD=F.pad(batch.local_BLD, (0, 0, 0, more)), there_BL=F.pad(batch.there_BL, (0, more))
    )


def padded(parts: Sequence[NDArray[np.float16]]) -> tuple[Tensor, Tensor]:
    """Unit vectors float32 [B, L, D] of rows of L or fewer, and which of them are there [B, L]."""
    counts_B = np.array([len(part) for part in parts])
    there_BL = np.arange(max(counts_B, default=0)) < counts_B[:, None]
    local_BLD = np.zeros((*there_BL.shape, parts[0].shape[1]), np.float32)
    local_BLD[there_BL] = np.concatenate(parts)
    return F.normalize(torch.from_numpy(local_BLD), dim=-1), torch.from_numpy(there_BL)


def _examples(
    batch: VectorBatch, parts: Sequence[NDArray[np.float16]], targets_BN: NDArray[np.int8]
) -> Examples:
    whole_BD = F.normalize(torch.from_numpy(batch.vectors).float(), dim=-1)
    return Examples(whole_BD, *padded(parts), torch.from_numpy(targets_BN))
