"""Batches of prepared photos to vectors, where a photo that the encoder cannot take is found,
and remembered for its copies.

Shapes: B batch, D embedding dimension, G region grid, H height, W width.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import DeviceEncoder, Encoder, ImageVectors
from taistore.encoders.waiting_encoder import at_hand
from taistore.errors import ImageError
from taistore.store.rejects import Reject

if TYPE_CHECKING:  # photos that are not there are told of without loading torch
    import torch

    from taistore.devices.copies import Copies

GroupT = TypeVar("GroupT")

MOST_FAILURES = 16_384
"""Contents that a job remembers to be unusable: copies of older ones are tried again."""


class FailedContents:
    """Why contents could not be used: a copy of one must fail as the first did.

    Else a copy that is only measured would be an image without a vector.
    """

    def __init__(self) -> None:
        self._rejects: dict[str, Reject] = {}

    def add(self, image_id: str, reject: Reject) -> None:
        """Note why this content, if it is known, failed; the oldest of too many is forgotten."""
        if not image_id or image_id in self._rejects:
            return
        while len(self._rejects) >= MOST_FAILURES:
            del self._rejects[next(iter(self._rejects))]
        self._rejects[image_id] = reject

    def forget(self, image_id: str) -> None:
        """Note that this content went through."""
        self._rejects.pop(image_id, None)

    def of(self, image_id: str, uri: str) -> Reject | None:
        """The reject of the copy at ``uri``, None where its content has not failed."""
        first = self._rejects.get(image_id)
        return None if first is None else replace(first, uri=uri)


def encode_each(
    encoder: Encoder, pixels: Sequence[NDArray[np.uint8]], *, regions: int = 0
) -> tuple[ImageVectors, dict[int, Exception]]:
    """Vectors of those of ``pixels``, uint8 [3, H, W] each, that the encoder takes, in their order.

    Where the batch fails it is halved until the photos that it fails for are found: the second
    value says why, by their place in ``pixels``. A photo whose vector is not finite in float16,
    as a store keeps it, is one of them. Raises what the encoder raises where it fails for a plain
    grey picture of that size too: then it is not the photo's fault.
    """
    return _sound(encoder, _parts(encoder, pixels, 0, regions), regions)


def _sound(
    encoder: Encoder, parts: Iterable[tuple[int, ImageVectors | Exception]], regions: int
) -> tuple[ImageVectors, dict[int, Exception]]:
    """The vectors that a store can keep, and why there are no others."""
    whole, cells, failed = [], [], dict[int, Exception]()
    for first, found in parts:
        if isinstance(found, Exception):
            failed[first] = found
            continue
        finite_B = _finite(found)
        for place in np.flatnonzero(~finite_B):
            failed[first + int(place)] = ImageError(
                "its vector is not finite: the encoder cannot take it", reason="not_finite"
            )
        whole.append(found.whole[finite_B])
        if found.regions is not None:
            cells.append(found.regions[finite_B])
    if not whole:
        return _none(encoder.info.dim, regions), failed
    return ImageVectors(np.concatenate(whole), np.concatenate(cells) if cells else None), failed


class EncodedGroup(NamedTuple, Generic[GroupT]):
    """A group with what :func:`encode_each` makes of its photos.

    ``seconds`` are those that this thread launched the encoder and waited for it.
    """

    group: GroupT
    vectors: ImageVectors
    failed: dict[int, Exception]
    seconds: float


def encode_groups(
    encoder: Encoder,
    groups: Iterable[tuple[GroupT, list[NDArray[np.uint8]]]],
    *,
    regions: int = 0,
) -> Iterator[EncodedGroup[GroupT]]:
    """Groups, whatever they are, with the vectors of their photos, as :func:`encode_each`.

    On a GPU a group's photos are copied while those before are encoded, and its vectors fetched
    once the next are launched: groups come one behind.
    """
    groups = iter(groups)
    first = next(groups, None)
    if first is None:
        return
    groups = itertools.chain([first], groups)
    encoder = at_hand(encoder)  # one that waited was loaded for the first photo
    if isinstance(encoder, DeviceEncoder) and encoder.copies is not None:
        yield from _Launched[GroupT](encoder, encoder.copies, regions).through(groups)
        return
    for group, pixels in groups:
        began = time.perf_counter()
        vectors, failed = encode_each(encoder, pixels, regions=regions)
        yield EncodedGroup(group, vectors, failed, time.perf_counter() - began)


_Made = tuple["torch.Tensor", "torch.Tensor | None"] | None


class _Launched(Generic[GroupT]):
    """Groups on their way through an encoder that works by itself."""

    def __init__(self, encoder: DeviceEncoder, copies: "Copies", regions: int) -> None:
        self._encoder = encoder
        self._copies = copies
        self._regions = regions
        self._began = 0.0

    def through(
        self, groups: Iterable[tuple[GroupT, list[NDArray[np.uint8]]]]
    ) -> Iterator[EncodedGroup[GroupT]]:
        """Copied, launched, fetched; a batch that fails is encoded again to find the photo."""
        from taistore.devices.ahead import late

        for group, pixels, made in late(self._launch(groups), self._copies):
            vectors, failed = self._found(pixels, made)
            yield EncodedGroup(group, vectors, failed, time.perf_counter() - self._began)

    def _launch(
        self, groups: Iterable[tuple[GroupT, list[NDArray[np.uint8]]]]
    ) -> Iterator[tuple[GroupT, list[NDArray[np.uint8]], _Made]]:
        import torch

        from taistore.devices.ahead import ahead

        items = ((group, pixels, _tensors(pixels)) for group, pixels in groups)
        for group, pixels, photos in ahead(items, self._copies):
            self._began = time.perf_counter()
            made: _Made = None
            try:
                if photos:
                    made = self._encoder.launch_images(torch.stack(photos), regions=self._regions)
            except Exception:
                made = None  # encode_each says why
            yield group, pixels, made
        self._began = time.perf_counter()

    def _found(
        self, pixels: list[NDArray[np.uint8]], made: _Made
    ) -> tuple[ImageVectors, dict[int, Exception]]:
        if made is not None:
            try:
                vectors = self._encoder.image_vectors(*made)
            except Exception:
                pass  # encode_each says of which photo
            else:
                return _sound(self._encoder, [(0, vectors)], self._regions)
        return encode_each(self._encoder, pixels, regions=self._regions)


def _tensors(pixels: Sequence[NDArray[np.uint8]]) -> "tuple[torch.Tensor, ...]":
    """Photos one by one: put together on the GPU, they are copied here once, not twice."""
    import torch

    # torch warns of arrays that it may not write to; it never writes to these.
    return tuple(torch.from_numpy(one if one.flags.writeable else one.copy()) for one in pixels)


def _parts(
    encoder: Encoder, pixels: Sequence[NDArray[np.uint8]], first: int, regions: int
) -> Iterator[tuple[int, ImageVectors | Exception]]:
    """Where photos begin whose vectors follow, or which one the error is about."""
    if not pixels:
        return
    try:
        found: ImageVectors | Exception = encoder.encode_images(np.stack(pixels), regions=regions)
    except Exception as error:
        found = error.with_traceback(None)  # which would keep the failed batch in memory
    if len(pixels) == 1 and isinstance(found, Exception):
        encoder.encode_images(np.full_like(pixels[0], 128)[None], regions=regions)
    if len(pixels) == 1 or not isinstance(found, Exception):
        yield first, found
        return
    half = len(pixels) // 2
    yield from _parts(encoder, pixels[:half], first, regions)
    yield from _parts(encoder, pixels[half:], first + half, regions)


def _finite(vectors: ImageVectors) -> NDArray[np.bool_]:
    """Which photos [B] have vectors that float16 can hold."""
    most = float(np.finfo(np.float16).max)
    finite_B: NDArray[np.bool_] = np.all(np.abs(vectors.whole) <= most, axis=1)
    if vectors.regions is not None:
        finite_B = finite_B & np.all(np.abs(vectors.regions) <= most, axis=(1, 2))
    return finite_B


def _none(dim: int, regions: int) -> ImageVectors:
    cells = np.empty((0, regions * regions, dim), dtype=np.float32) if regions else None
    return ImageVectors(np.empty((0, dim), dtype=np.float32), cells)
