"""HEIC and HEIF, the photos of phones: read by libheif, which the extra ``[heic]`` brings.

libheif holds the coded picture against the size that the file's header states before it decodes it,
turns it as the file says (``irot``, ``imir``), and takes 0.2 s of processor time a megapixel at
most (noise at full quality), 18 s for as many pixels as are read at all.
"""

import io
from typing import Any

from PIL import Image

from taistore._extras import require
from taistore.errors import ImageError, MissingExtraError

_HEVC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_ANY = frozenset({b"mif1", b"msf1"})
_AVIF = frozenset({b"avif", b"avis"})
_MOST_BRANDS = 64


def is_heif(data: bytes) -> bool:
    """Whether the bytes begin as a HEIF file does whose picture is no AVIF, which Pillow reads.

    >>> is_heif(bytes.fromhex("00000014") + b"ftypmif1" + bytes(4) + b"heic")
    True
    >>> is_heif(bytes.fromhex("00000014") + b"ftypmif1" + bytes(4) + b"avif")
    False
    """
    if data[4:8] != b"ftyp":
        return False
    end = min(int.from_bytes(data[:4], "big"), 4 * _MOST_BRANDS)
    brands = {data[8:12], *(data[place : place + 4] for place in range(16, end, 4))}
    return bool(brands & (_HEVC | _ANY)) and not brands & _AVIF


def open_heif(file: io.BytesIO) -> Image.Image:
    """The main picture of a HEIF file, not decoded yet; its size is that of the upright picture.

    Raises :class:`ImageError` (unsupported) without the extra, and what Pillow's readers raise.
    """
    try:
        package: Any = require("pillow_heif", extra="heic", purpose="a HEIC photo")
    except MissingExtraError as error:
        raise ImageError(str(error), reason="unsupported") from None
    # Not registered with Pillow: what a program reads by itself is its own affair.
    image: Image.Image = package.HeifImageFile(file)
    return image
