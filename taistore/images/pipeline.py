"""Photos to vectors, streaming: files are read and decoded in threads while the encoder works.

Threads, not processes: Lance does not survive a fork, and Pillow and hashing release the lock.
Shapes: B batch, D embedding dimension, G region grid, H height, W width.
"""

import contextlib
import enum
import itertools
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder, ImageVectors
from taistore.errors import ImageError
from taistore.images.decoding import MAX_PIXELS, decode_image, image_id, read_file
from taistore.images.encoding import EncodedGroup, FailedContents, encode_groups
from taistore.images.ordered_map import LATE_SECONDS, ordered_map
from taistore.images.photo_files import left_behind, rejected
from taistore.images.sources.source import SourceImage
from taistore.store.rejects import Reject

_SKIPS_PER_BATCH = 512


class Work(enum.Enum):
    """What is to be done with an image: ENCODE it, only MEASURE its size, or SKIP it."""

    ENCODE = enum.auto()
    MEASURE = enum.auto()
    SKIP = enum.auto()


class Task(NamedTuple):
    """An image and the work that it needs; ``data`` are its file's bytes if they are at hand."""

    image: SourceImage
    work: Work
    data: bytes | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedImage:
    """An image that went through; ``source.image_id`` is set unless it was skipped.

    ``size`` is the upright width and height, None where it was skipped; ``row`` is its row in the
    vectors of its batch, None where it was not encoded.
    """

    source: SourceImage
    size: tuple[int, int] | None
    row: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedBatch:
    """Images in the source's order with their vectors, and what was set aside between them.

    ``vectors.whole`` is [B, D] for the B images that have a ``row``; B may be 0.
    """

    images: list[EncodedImage]
    vectors: ImageVectors
    rejects: list[Reject]
    encoder_seconds: float


class _Prepared(NamedTuple):
    source: SourceImage
    size: tuple[int, int] | None
    pixels: "NDArray[np.uint8] | None"


class _Refused(NamedTuple):
    """A reject with the content that it is about, "" where it says nothing of a content."""

    reject: Reject
    image_id: str = ""


def encode_source(
    encoder: Encoder,
    items: Iterable[SourceImage | Task | Reject],
    *,
    regions: int = 0,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
    seconds: float = LATE_SECONDS,
) -> Generator[EncodedBatch, None, None]:
    """Decode ``items`` in threads and encode them here, ``batch_size`` at a time, in their order.

    ``regions`` = G > 0 adds the vectors of a G x G grid. A file is read unless a task brings its
    bytes; then an image that carries an ``image_id`` must still have that content, else it is
    rejected as changed. Whatever fails with one photo, in decoding, in the encoder's ``prepare``
    or in its batch, is a reject, and so is one that takes longer than ``seconds``; later copies of
    its content are rejected for the same reason. Memory holds about three batches of prepared
    pixels (with an encoder on a GPU six), ``workers`` photos of at most ``max_pixels``, and
    :data:`~taistore.images.ordered_map.READ_BYTES` of files. Close the generator when leaving it
    early. Raises what ``items`` raises, and what ``encode_images`` raises of any picture.
    """
    failures = FailedContents()

    def prepare(item: SourceImage | Task | Reject) -> _Prepared | _Refused:
        if isinstance(item, Reject):
            return _Refused(item)
        task = item if isinstance(item, Task) else Task(item, Work.ENCODE)
        return _prepare(encoder, task, max_pixels, failures)

    ahead = 2 * batch_size + workers
    results = ordered_map(
        prepare,
        items,
        workers=workers,
        ahead=ahead,
        cost=_held,
        late=_late,
        seconds=seconds,
    )
    with contextlib.closing(results):
        groups = ((group, _pixels(group)) for group in _grouped(results, batch_size))
        for encoded in encode_groups(encoder, groups, regions=regions):
            yield _batch(encoded, failures)


def _late(item: SourceImage | Task | Reject) -> _Refused:
    if not isinstance(item, Task):
        return _Refused(left_behind(item))
    # Where its bytes were at hand it is the content that hangs, not the disk.
    content = item.image.image_id if item.data is not None else ""
    return _Refused(left_behind(item.image), content)


def _prepare(
    encoder: Encoder, task: Task, max_pixels: int, failures: FailedContents
) -> _Prepared | _Refused:
    image = task.image
    if task.work is Work.SKIP:
        return _Prepared(image, None, None)
    try:
        image, data = _read(task)
    except Exception as error:
        return _Refused(rejected(image.uri, error))
    before = failures.of(image.image_id, image.uri)
    if before is not None:
        return _Refused(before, image.image_id)
    try:
        decoded = decode_image(data, max_pixels=max_pixels)
        pixels = encoder.prepare(decoded) if task.work is Work.ENCODE else None
    except Exception as error:
        return _Refused(rejected(image.uri, error), image.image_id)
    return _Prepared(image, decoded.size, pixels)


def _read(task: Task) -> tuple[SourceImage, bytes]:
    """The task's image with its ``image_id``, and the bytes of its file."""
    image, data = task.image, task.data
    if data is None:
        data = read_file(image.uri)
        identity = image_id(data)
        if image.image_id not in ("", identity):
            raise ImageError(
                "the file changed while it was being read: run the same command again",
                reason="changed",
            )
        image = replace(image, image_id=identity)
    return image, data


def _held(item: SourceImage | Task | Reject) -> int:
    return len(item.data or b"") if isinstance(item, Task) else 0


def _grouped(
    results: Iterable[_Prepared | _Refused], batch_size: int
) -> Iterator[list[_Prepared | _Refused]]:
    """Groups that hold ``batch_size`` images to encode, or many that need no encoding."""
    group: list[_Prepared | _Refused] = []
    pixels = 0
    for result in results:
        group.append(result)
        pixels += isinstance(result, _Prepared) and result.pixels is not None
        if pixels == batch_size or len(group) >= batch_size + _SKIPS_PER_BATCH:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def _pixels(group: list[_Prepared | _Refused]) -> list[NDArray[np.uint8]]:
    return [
        item.pixels for item in group if isinstance(item, _Prepared) and item.pixels is not None
    ]


def _batch(
    encoded: EncodedGroup[list[_Prepared | _Refused]], failures: FailedContents
) -> EncodedBatch:
    images: list[EncodedImage] = []
    rejects: list[Reject] = []
    places, rows = itertools.count(), itertools.count()
    outcome: _Prepared | _Refused
    for item in encoded.group:
        if isinstance(item, _Prepared):
            error = encoded.failed.get(next(places)) if item.pixels is not None else None
            outcome = _outcome(item, error, failures)
        else:
            outcome = item
        if isinstance(outcome, _Refused):
            rejects.append(outcome.reject)
            failures.add(outcome.image_id, outcome.reject)
            continue
        row = None
        if outcome.pixels is not None:
            row = next(rows)
            failures.forget(outcome.source.image_id)
        images.append(EncodedImage(source=outcome.source, size=outcome.size, row=row))
    return EncodedBatch(
        images=images,
        vectors=encoded.vectors,
        rejects=rejects,
        encoder_seconds=encoded.seconds,
    )


def _outcome(
    item: _Prepared, error: Exception | None, failures: FailedContents
) -> _Prepared | _Refused:
    """A photo, or why not: encoding ended with ``error``, or its content failed before."""
    image = item.source
    if error is not None:
        return _Refused(rejected(image.uri, error), image.image_id)
    measured = item.pixels is None and item.size is not None
    before = failures.of(image.image_id, image.uri) if measured else None
    return item if before is None else _Refused(before, image.image_id)
