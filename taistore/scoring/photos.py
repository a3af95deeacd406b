"""Photos as callers hold them, paths, bytes, Pillow images or arrays, and what to call each."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taistore.errors import ImageError
from taistore.images.decoding import MAX_PIXELS, decode_image, read_file, upright_rgb

Photo = str | Path | bytes | Image.Image | NDArray[np.uint8]
"""A path, the bytes of an image file, a Pillow image, or pixels uint8 [height, width, 3] (RGB)."""


def open_photo(photo: Photo, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A photo as an upright RGB image; :class:`ImageError` says why it is none."""
    if isinstance(photo, str | Path):
        return decode_image(read_file(photo), max_pixels=max_pixels)
    if isinstance(photo, bytes):
        return decode_image(photo, max_pixels=max_pixels)
    if isinstance(photo, np.ndarray):
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3 or not photo.size:
            raise ImageError(
                f"an array {photo.dtype} {list(photo.shape)}: give uint8 [height, width, 3]",
                reason="unsupported",
            )
        photo = Image.fromarray(photo)
    if isinstance(photo, Image.Image):
        return upright_rgb(photo, max_pixels=max_pixels)
    raise ImageError(
        f"a {type(photo).__name__} is no photo: give a path, bytes, a Pillow image or an array",
        reason="unsupported",
    )


def photo_name(photo: Photo) -> str:
    """What to call a photo: its path where it has one, else what it is.

    >>> photo_name(Path("shop/a.jpg")), photo_name(np.zeros((480, 640, 3), np.uint8))
    ('shop/a.jpg', 'array 640 x 480')
    """
    if isinstance(photo, str | Path):
        return str(photo)
    if isinstance(photo, bytes):
        return f"{len(photo):,} bytes"
    if isinstance(photo, np.ndarray):
        return "array " + " x ".join(str(size) for size in photo.shape[1::-1])
    if isinstance(photo, Image.Image):
        return str(getattr(photo, "filename", "")) or f"image {photo.width} x {photo.height}"
    return f"a {type(photo).__name__}"
