"""The files of photos, each read once, ahead of whoever wants them; what fails is a reject."""

import contextlib
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from taistore.errors import ImageError
from taistore.images.decoding import image_id, read_file
from taistore.images.ordered_map import LATE_SECONDS, READ_BYTES, ordered_map
from taistore.images.sources.source import SourceImage
from taistore.printable import printable
from taistore.store.rejects import Reject

READ_AHEAD = 512
"""Files read ahead by :func:`read_blocks`, and the items of a block of it."""


class ReadImage(NamedTuple):
    """An image with the bytes of its file, None where they were not needed to identify it."""

    image: SourceImage
    data: bytes | None


def read_blocks(
    items: Iterable[SourceImage | Reject], *, workers: int = 2, size: int = READ_AHEAD
) -> Generator[list[ReadImage | Reject], None, None]:
    """Read every file once and set its ``image_id``; a file that cannot be read is a reject.

    Blocks, so that a store can be asked for many images at once, hold ``size`` items or
    :data:`READ_BYTES` of files, in the order of ``items``. Items that have an ``image_id``
    pass unread, with None for their bytes. Close the generator when leaving it early.
    """

    def read(item: SourceImage | Reject) -> ReadImage | Reject:
        if isinstance(item, Reject):
            return item
        if item.image_id:
            return ReadImage(item, None)
        try:
            data = read_file(item.uri)
        except Exception as error:
            return rejected(item.uri, error)
        return ReadImage(replace(item, image_id=image_id(data)), data)

    results = ordered_map(
        read, items, workers=workers, ahead=READ_AHEAD, cost=_file_bytes, late=left_behind
    )
    with contextlib.closing(results):
        block: list[ReadImage | Reject] = []
        held = 0
        for result in results:
            block.append(result)
            held += _held(result)
            if len(block) == size or held >= READ_BYTES:
                yield block
                # The next block is a list of its own: this one may be emptied while it is used.
                block, held = [], 0
        if block:
            yield block


def rejected(uri: str, error: Exception) -> Reject:
    """One photo's failure, whatever it is, as a reject: it must not end the job of all others."""
    if isinstance(error, ImageError):
        return Reject(uri=uri, reason=error.reason, detail=str(error))
    if isinstance(error, MemoryError):
        return Reject(uri=uri, reason="too_large", detail="not enough memory for it")
    detail = printable(f"{type(error).__name__}: {error}")[:200]
    return Reject(uri=uri, reason="failed", detail=f"cannot be prepared: {detail}")


def took_too_long(seconds: float = LATE_SECONDS) -> ImageError:
    """The error of a photo that was waited for so long."""
    return ImageError(
        f"not read and decoded within {seconds:.0f} s: save it anew as JPEG or PNG",
        reason="too_slow",
    )


def left_behind(item: SourceImage | Reject) -> Reject:
    """What stands for a photo that does not come to an end."""
    return item if isinstance(item, Reject) else rejected(item.uri, took_too_long())


def _file_bytes(item: SourceImage | Reject) -> int:
    """What reading the file will take, 0 where it will not be read or cannot be."""
    if isinstance(item, Reject) or item.image_id:
        return 0
    try:
        return Path(item.uri).stat().st_size
    except (OSError, ValueError):
        return 0


def _held(item: ReadImage | Reject) -> int:
    return len(item.data or b"") if isinstance(item, ReadImage) else 0
