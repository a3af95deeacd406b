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
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from taistore.errors import ImageError

MAX_PIXELS = 100_000_000
"""Width x height above which a photo is refused; decoding one takes 3 to 4 bytes a pixel."""

MAX_SIDE = 65_535
"""Pixels along one side, the most that JPEG knows; a longer strip is no photo of anything."""

MAX_FILE_BYTES = 512 * 2**20
"""A larger file is refused before it is read."""

_HEADERS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WebP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"BM": "BMP",
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_ORIENTATION_TAG = 0x0112
_ORIENTATION_BLOCKS = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_SIXTEEN_TO_EIGHT = ((np.arange(65536) * 255 + 32767) // 65535).astype(np.uint8)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    # pillow_heif and the like register themselves as HEIF.
    return tuple(name for name in (*modules, "AVIF", "HEIF") if name in Image.OPEN)


FORMATS = _load_formats()
"""Pillow's names of the formats that are read, whatever a file's name says."""


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


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An upright RGB image: first frame, transparency on white, 16 bits scaled to 8.

    Size is checked in the header, before anything is decoded: at most ``max_pixels`` in all and
    :data:`MAX_SIDE` along a side; Pillow's own limit is about 179 million pixels. Raises
    :class:`ImageError` with reason empty, not_an_image, unsupported, too_large, truncated or
    corrupt. Never warns.
    """
    if not data:
        raise ImageError("the file is empty (0 bytes)", reason="empty")
    with _quiet(), _image_errors(data):
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        return _loaded(image, max_pixels)


def upright_rgb(image: Image.Image, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """An image that Pillow opened or made, as :func:`decode_image` gives the bytes of one.

    An upright RGB image comes back as it is. Raises :class:`ImageError` as ``decode_image`` does.
    """
    with _quiet(), _image_errors(b""):
        return _loaded(image, max_pixels)


def _loaded(image: Image.Image, max_pixels: int) -> Image.Image:
    _require_size(image.size, max_pixels)
    image.load()
    return _to_rgb(_upright(image))


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


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """:func:`decode_image` of a file; the :class:`ImageError` names it."""
    try:
        return decode_image(read_file(path), max_pixels=max_pixels)
    except ImageError as error:
        raise ImageError(f"{path}: {error}", reason=error.reason) from None


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


def _unidentified(data: bytes) -> ImageError:
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return ImageError(
            "HEIC is not read: convert it to JPEG or PNG, or register pillow-heif",
            reason="unsupported",
        )
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


def _upright(image: Image.Image) -> Image.Image:
    # Read after load(): PNG keeps EXIF behind the pixels, and Pillow itself turns TIFF.
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        # A damaged EXIF block is no reason to lose the photo.
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    if method is None:
        return image
    turned = image.transpose(method)
    # What says how to turn it goes, so that nobody turns it twice.
    for name in _ORIENTATION_BLOCKS:
        turned.info.pop(name, None)
    return turned


def _to_rgb(image: Image.Image) -> Image.Image:
    transparent = "transparency" in image.info
    if image.mode == "RGB" and not transparent:
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if transparent or image.mode in ("LA", "PA", "RGBA"):
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Grey levels of a wide mode as uint8 [H, W]: full range scaled, where Pillow would clip."""
    grey = np.asarray(image)
    if image.mode.startswith("I;16"):
        levels: NDArray[np.uint8] = _SIXTEEN_TO_EIGHT[grey]
        return levels
    grey = np.nan_to_num(grey.astype(np.float32))
    low, high = float(grey.min()), float(grey.max())
    # Neither mode says what white is: the narrowest usual range that holds all values.
    usual = (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0)
    if low >= 0 and high <= usual[-1]:
        low, high = 0.0, next(white for white in usual if high <= white)
    scaled = np.rint((grey - low) * (255.0 / max(high - low, 1e-12)))
    return np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)


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
