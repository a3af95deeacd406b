"""Photos to vectors, streaming: files are read and decoded in threads while the encoder works.

Threads, not processes: Lance does not survive a fork, and Pillow and hashing release the lock.
Shapes: B batch, D embedding dimension, G region grid, H height, W width.
"""

import contextlib
import enum
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from taistore.encoders.protocol import Encoder, ImageVectors
from taistore.errors import ImageError
from taistore.images.decoding import MAX_PIXELS, decode_image, image_id, read_file
from taistore.images.sources.source import Reject, SourceImage

READ_AHEAD = 512
"""Files that :func:`identify` reads ahead; it keeps their digests, not their bytes."""

_SKIPS_PER_BATCH = 512

T = TypeVar("T")
R = TypeVar("R")


class Work(enum.Enum):
    """What is to be done with an image: ENCODE it, only MEASURE its size, or SKIP it."""

    ENCODE = enum.auto()
    MEASURE = enum.auto()
    SKIP = enum.auto()


class Task(NamedTuple):
    """An image and the work that it needs."""

    image: SourceImage
    work: Work


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


def ordered_map(
    function: Callable[[T], R], items: Iterable[T], *, workers: int, ahead: int
) -> Generator[R, None, None]:
    """``map`` in ``workers`` threads, in order, never more than ``ahead`` items ahead.

    ``items`` is advanced in the calling thread. Closing the generator ends the threads.
    """
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="taistore-images")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def identify(
    items: Iterable[SourceImage | Reject], *, workers: int = 2
) -> Generator[SourceImage | Reject, None, None]:
    """Read every file and set its ``image_id``; a file that cannot be read becomes a reject.

    Items that have an ``image_id`` pass unread.
    """

    def read(item: SourceImage | Reject) -> SourceImage | Reject:
        if isinstance(item, Reject) or item.image_id:
            return item
        try:
            return replace(item, image_id=image_id(read_file(item.uri)))
        except ImageError as error:
            return Reject(uri=item.uri, reason=error.reason, detail=str(error))

    return ordered_map(read, items, workers=workers, ahead=READ_AHEAD)


def encode_source(
    encoder: Encoder,
    items: Iterable[SourceImage | Task | Reject],
    *,
    regions: int = 0,
    batch_size: int = 32,
    workers: int = 2,
    max_pixels: int = MAX_PIXELS,
) -> Generator[EncodedBatch, None, None]:
    """Decode ``items`` in threads and encode them here, ``batch_size`` at a time, in their order.

    ``regions`` = G > 0 adds the vectors of a G x G grid. An image that carries an ``image_id``
    must still have that content, else it is rejected as changed. Memory holds about three batches
    of prepared pixels, and ``workers`` photos of at most ``max_pixels``. Close the generator when
    leaving it early. Raises what the encoder and ``items`` raise.
    """

    def prepare(item: SourceImage | Task | Reject) -> _Prepared | Reject:
        if isinstance(item, Reject):
            return item
        task = item if isinstance(item, Task) else Task(item, Work.ENCODE)
        try:
            return _prepare(encoder, task, max_pixels)
        except ImageError as error:
            return Reject(uri=task.image.uri, reason=error.reason, detail=str(error))

    results = ordered_map(prepare, items, workers=workers, ahead=2 * batch_size + workers)
    with contextlib.closing(results):
        for group in _grouped(results, batch_size):
            yield _encode(encoder, group, regions)


def _prepare(encoder: Encoder, task: Task, max_pixels: int) -> _Prepared:
    image = task.image
    if task.work is Work.SKIP:
        return _Prepared(image, None, None)
    data = read_file(image.uri)
    identity = image_id(data)
    if image.image_id not in ("", identity):
        raise ImageError(
            "the file changed while it was being read: run the same command again",
            reason="changed",
        )
    image = replace(image, image_id=identity)
    decoded = decode_image(data, max_pixels=max_pixels)
    if task.work is Work.MEASURE:
        return _Prepared(image, decoded.size, None)
    return _Prepared(image, decoded.size, encoder.prepare(decoded))


def _grouped(
    results: Iterable[_Prepared | Reject], batch_size: int
) -> Iterator[list[_Prepared | Reject]]:
    """Groups that hold ``batch_size`` images to encode, or many that need no encoding."""
    group: list[_Prepared | Reject] = []
    pixels = 0
    for result in results:
        group.append(result)
        pixels += isinstance(result, _Prepared) and result.pixels is not None
        if pixels == batch_size or len(group) >= batch_size + _SKIPS_PER_BATCH:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def _encode(encoder: Encoder, group: list[_Prepared | Reject], regions: int) -> EncodedBatch:
    prepared = [item for item in group if isinstance(item, _Prepared)]
    pixels = [item.pixels for item in prepared if item.pixels is not None]
    started = time.perf_counter()
    if pixels:
        vectors = encoder.encode_images(np.stack(pixels), regions=regions)
    else:
        dim = encoder.info.dim
        none = np.empty((0, regions * regions, dim), dtype=np.float32) if regions else None
        vectors = ImageVectors(np.empty((0, dim), dtype=np.float32), none)
    seconds = time.perf_counter() - started
    rows = iter(range(len(pixels)))
    return EncodedBatch(
        images=[
            EncodedImage(
                source=item.source,
                size=item.size,
                row=None if item.pixels is None else next(rows),
            )
            for item in prepared
        ],
        vectors=vectors,
        rejects=[item for item in group if isinstance(item, Reject)],
        encoder_seconds=seconds if pixels else 0.0,
    )
