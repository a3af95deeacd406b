"""From the bytes of a photo to an upright RGB image, or to one reason why that is not possible.

Colour profiles are not applied and CMYK is converted by formula, as CLIP's own pipelines do it.
"""

import contextlib
import hashlib
import importlib
import io
import os
import stat
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from taistore.errors import ImageError
from taistore.images.formats.heif import is_heif, open_heif
from taistore.images.formats.upright import to_rgb, upright

MAX_PIXELS = 100_000_000
"""Width x height above which a photo is refused."""

PIXEL_BYTES = 20
"""Memory that a pixel takes at most while a photo is decoded and prepared, in a thread: 2 GB for
:data:`MAX_PIXELS`, 0.3 GB for one of a telephone's camera."""

MAX_SLOW_PIXELS = 25_000_000
"""As :data:`MAX_PIXELS`, for JPEG 2000: it takes about a second for a million pixels."""

MAX_SECONDS = 30.0
"""Processor time after which the decoding of a photo is given up."""

MAX_SIDE = 65_535
"""Pixels along one side, the most that JPEG knows; a longer strip is no photo of anything."""

MAX_FILE_BYTES = 512 * 2**20
"""A larger file is refused before it is read."""

_MANY_SCANS = 64
_SMALL_READ = 1024

_HEADERS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"BM": "BMP",
}
_TILE_WIDTH, _TILE_HEIGHT = 322, 323


def _load_formats() -> tuple[str, ...]:
    # Pillow's other readers are left out on purpose: its EPS reader, for one, runs Ghostscript.
    modules = {
        "JPEG": "Jpeg",
        "MPO": "Mpo",
        "PNG": "Png",
        "WEBP": "WebP",
        "GIF": "Gif",
        "BMP": "Bmp",
        "TIFF": "Tiff",
        "JPEG2000": "Jpeg2K",
        "PPM": "Ppm",
    }
    for module in modules.values():
        importlib.import_module(f"PIL.{module}ImagePlugin")
    with contextlib.suppress(ImportError):  # came with Pillow 11.3
        importlib.import_module("PIL.AvifImagePlugin")
    return tuple(name for name in (*modules, "AVIF") if name in Image.OPEN)


FORMATS = _load_formats()
"""Pillow's names of the formats that are read, whatever a file's name says; HEIF comes beside them
(:mod:`taistore.images.formats.heif`)."""


def image_id(data: bytes) -> str:
    """Identity of an image: the 128-bit BLAKE2b of its file's bytes, as 32 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read_file(path: str | Path, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of a file; :class:`ImageError` says in ``reason`` why there are none.

    Reasons: missing, directory, no_permission, not_a_file, empty, too_large, unreadable.
    """
    try:
        # Opening a pipe or a device would block or never end.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            _require_regular_file(os.fstat(descriptor), max_bytes)
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(max_bytes)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise ImageError("no such file (was it moved?)", reason="missing") from None
    except PermissionError:
        raise ImageError(
            "no permission to read it: check its mode", reason="no_permission"
        ) from None
    except IsADirectoryError:
        raise ImageError("a directory, not an image", reason="directory") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot be read: {_one_line(error)}", reason="unreadable") from None
    except MemoryError:
        raise ImageError("not enough memory to read it", reason="too_large") from None
    if not data:
        raise ImageError("the file is empty (0 bytes)", reason="empty")
    return data


def _require_regular_file(status: os.stat_result, max_bytes: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise ImageError("a directory, not an image", reason="directory")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError("a pipe or device, not a file", reason="not_a_file")
    if status.st_size > max_bytes:
        raise ImageError(
            f"{status.st_size:,} bytes, at most {max_bytes:,} are read: save it smaller",
            reason="too_large",
        )


class _Bounded(io.BytesIO):
    """The bytes of a file, until its decoding has taken too long."""

    def __init__(self, data: bytes, seconds: float) -> None:
        super().__init__(data)
        self._seconds = seconds
        self._end = time.thread_time() + seconds

    def read(self, size: int | None = -1, /) -> bytes:
        """As of BytesIO; raises ImageError past the time."""
        # The thread's own time: a busy or stopped machine is not the photo's fault.
        if time.thread_time() > self._end:
            raise ImageError(
                f"more than {self._seconds:g} s to decode it: save it anew as JPEG or PNG",
                reason="too_slow",
            )
        return super().read(size)


def decode_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, max_seconds: float = MAX_SECONDS
) -> Image.Image:
    """An upright RGB image: first frame, transparency on white, 16 bits scaled to 8.

    Size is checked in the header, before anything is decoded: at most ``max_pixels`` in all and
    :data:`MAX_SIDE` along a side; Pillow's own limit is about 179 million pixels. Raises
    :class:`ImageError` with reason empty, not_an_image, unsupported (HEIC without the extra
    ``[heic]``), too_large, too_slow (more than ``max_seconds`` of processor time), truncated or
    corrupt. Never warns.
    """
    if not data:
        raise ImageError("the file is empty (0 bytes)", reason="empty")
    with _quiet(), _image_errors(data):
        file = _Bounded(data, max_seconds)
        if is_heif(data):
            return _loaded(open_heif(file), max_pixels)
        image = Image.open(file, formats=FORMATS)
        if data.count(b"\xff\xda") > _MANY_SCANS:
            # A JPEG's scan is a few bytes and a pass over all pixels: the usual 64 KiB between
            # two looks at the time would be hundreds of them.
            image.decodermaxblock = _SMALL_READ
        return _loaded(image, max_pixels)


def upright_rgb(image: Image.Image, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An image that Pillow opened or made, as :func:`decode_image` gives the bytes of one.

    An upright RGB image comes back as it is. Raises :class:`ImageError` as ``decode_image`` does.
    """
    with _quiet(), _image_errors(b""):
        return _loaded(image, max_pixels)


def _loaded(image: Image.Image, max_pixels: int) -> Image.Image:
    if image.format == "JPEG2000":
        max_pixels = min(max_pixels, MAX_SLOW_PIXELS)
    _require_size(image.size, max_pixels)
    _require_tile(image, max_pixels)
    image.load()
    return to_rgb(upright(image))


@contextlib.contextmanager
def _image_errors(data: bytes) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise _unidentified(data) from None
    except Image.DecompressionBombError as error:
        detail = str(error).split(", could", maxsplit=1)[0]
        raise ImageError(f"{detail}: save it smaller", reason="too_large") from None
    except MemoryError:
        raise ImageError("not enough memory to decode it", reason="too_large") from None
    except Exception as error:
        # Damaged bytes make Pillow's readers raise nearly every exception that there is.
        raise _damaged(error) from None


def _require_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{width} x {height} pixels: there is nothing to see", reason="corrupt")
    if max(width, height) > MAX_SIDE:
        raise ImageError(
            f"{width:,} x {height:,} pixels, at most {MAX_SIDE:,} along a side: cut it into pieces",
            reason="too_large",
        )
    if width * height > max_pixels:
        raise ImageError(
            f"{width:,} x {height:,} pixels, at most {max_pixels:,} in all: save it smaller",
            reason="too_large",
        )


def _require_tile(image: Image.Image, max_pixels: int) -> None:
    """A TIFF's tile is decoded whole, however small the picture is that it is cut to."""
    tags: Any = getattr(image, "tag_v2", {})
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    if width * height > max_pixels:
        raise ImageError(
            f"a tile of {width:,} x {height:,} pixels, at most {max_pixels:,}: save it anew",
            reason="too_large",
        )


def _unidentified(data: bytes) -> ImageError:
    for header, name in _HEADERS.items():
        if data.startswith(header):
            return ImageError(
                f"begins like {name}, but its header is damaged or cut off", reason="truncated"
            )
    return ImageError("not an image that can be read", reason="not_an_image")


def _damaged(error: Exception) -> ImageError:
    detail = _one_line(error)
    if isinstance(error, EOFError) or "truncated" in detail.lower():
        return ImageError(f"the file ends too early: {detail}", reason="truncated")
    return ImageError(f"damaged: {detail}", reason="corrupt")


def _one_line(error: Exception) -> str:
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    return text[:200] or type(error).__name__


class _HereOnly:
    """Matches a warning's module while this thread decodes: filters are shared by all threads."""

    def __init__(self) -> None:
        self._state = threading.local()

    def match(self, module: str) -> bool:
        return getattr(self._state, "decoding", False)

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        # Not warnings.catch_warnings: it swaps the list of filters for the whole process.
        entry: Any = ("ignore", None, Warning, self, 0)
        filters: Any = warnings.filters
        if entry not in filters:
            filters.insert(0, entry)
        self._state.decoding = True
        try:
            yield
        finally:
            self._state.decoding = False


_quiet = _HereOnly()
