"""Small upright JPEGs that stand inside HTML, so that it needs nothing from elsewhere."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

from taistore.errors import ImageError
from taistore.scoring.photos import Photo, open_photo

MAX_BYTES = 16 * 1024
"""A thumbnail at most, so that a page of 1,000 photos has 21 MiB at most; 21 in 22 photos have less
at 288 pixels (docs/log.md)."""

_QUALITIES = (70, 55, 40, 25)
"""The first that keeps within the bound."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """A JPEG in base64 with its width and height, or why there is none."""

    data: str = ""
    size: tuple[int, int] = (0, 0)
    problem: str = ""


def thumbnail(photo: Photo, *, pixels: int) -> Thumbnail:
    """A photo at most ``pixels`` wide and high; never raises for a photo that cannot be read."""
    try:
        image = open_photo(photo)
    except ImageError as error:
        return Thumbnail(problem=str(error))
    small = image.copy() if image is photo else image
    small.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    return Thumbnail(data=base64.b64encode(_jpeg(small)).decode(), size=small.size)


def _jpeg(image: Image.Image) -> bytes:
    """A JPEG of at most :data:`MAX_BYTES`, or of the lowest quality."""
    written = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
        written = buffer.getvalue()
        if len(written) <= MAX_BYTES:
            break
    return written
