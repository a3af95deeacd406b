"""Pixels of any orientation and mode as upright RGB: transparency on white, 16 bits scaled to 8."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BAND_PIXELS = 4_000_000
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


def upright(image: Image.Image) -> Image.Image:
    """A loaded image turned as its EXIF says; one that is upright comes back as it is."""
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


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode in RGB; one that is in RGB comes back as it is."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    levels = _levels(image) if image.mode in ("I", "F") else (0.0, 65535.0)
    rgb = Image.new("RGB", image.size)
    # In bands: what is between the modes takes up to 20 bytes a pixel more.
    for top, band in _bands(image):
        rgb.paste(_band_to_rgb(band, levels), (0, top))
    return rgb


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image in pieces of its whole width, each with where it begins."""
    rows = max(1, _BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _band_to_rgb(image: Image.Image, levels: tuple[float, float]) -> Image.Image:
    transparent = "transparency" in image.info
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(image, levels)).convert("RGB")
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if transparent or image.mode in ("LA", "PA", "RGBA"):
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def _levels(image: Image.Image) -> tuple[float, float]:
    """What is black and what is white in a wide mode, neither of which says it."""
    low, high = math.inf, -math.inf
    for _, band in _bands(image):
        grey = np.nan_to_num(np.asarray(band).astype(np.float32))
        low, high = min(low, float(grey.min())), max(high, float(grey.max()))
    # The narrowest usual range that holds all values.
    usual = (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0)
    if low >= 0 and high <= usual[-1]:
        return 0.0, next(white for white in usual if high <= white)
    return low, high


def _eight_bits(image: Image.Image, levels: tuple[float, float]) -> NDArray[np.uint8]:
    """Grey levels of a wide mode as uint8 [H, W]: full range scaled, where Pillow would clip."""
    grey = np.asarray(image)
    if image.mode.startswith("I;16"):
        scaled: NDArray[np.uint8] = _SIXTEEN_TO_EIGHT[grey]
        return scaled
    low, high = levels
    grey = np.nan_to_num(grey.astype(np.float32))
    eighths = np.rint((grey - low) * (255.0 / max(high - low, 1e-12)))
    return np.clip(eighths, 0, 255, out=eighths).astype(np.uint8)
