"""Small upright JPEGs that stand inside HTML, so that it needs nothing from elsewhere."""

import base64
import io
from dataclasses import dataclass

from PIL import Image

from taistore.errors import ImageError
from taistore.scoring.photos import Photo, open_photo

_QUALITY = 80


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
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY, optimize=True, progressive=True)
    return Thumbnail(data=base64.b64encode(buffer.getvalue()).decode(), size=small.size)
