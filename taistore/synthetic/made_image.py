"""From what a writer gave to an upright RGB picture that shows something.

H height, W width.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageStat
from scipy.fft import dctn

from taistore.errors import ImageError
from taistore.images.decoding import decode_image, image_id
from taistore.images.formats.upright import to_rgb

BLANK_DEVIATION = 2.0
"""Standard deviation of each of the three colours, of 255, below which a picture shows nothing."""

_DARK = 8.0


BITS = 63
ALIKE_BITS = 8
"""Bits of two fingerprints that may differ in near-duplicates. Of 800 real photos no two come so
near; a photo that is saved at quality 30, halved or blurred differs in 2, cropped by 2 % in 8."""

_GRID = 32
_WAVES = 8


class MadeImage(NamedTuple):
    """A picture (None once it is prepared for the encoder), the hash of what it shows (of its
    file's bytes, or of its pixels), and its :func:`fingerprint`."""

    picture: Image.Image | None
    content: str
    fingerprint: int


def made_image(image: bytes | Image.Image) -> MadeImage:
    """The picture of a file's bytes or of a pipeline, in RGB.

    Raises :class:`ImageError` where it cannot be decoded, and with the reason ``blank`` where all
    of it is one colour, as a safety filter or an overflow in half precision leaves it.
    """
    if isinstance(image, bytes):
        picture, content = decode_image(image), image_id(image)
    else:
        picture = to_rgb(image)
        size = f"{picture.size}".encode()
        content = hashlib.blake2b(size + picture.tobytes(), digest_size=16).hexdigest()
    colours = ImageStat.Stat(picture)
    if max(colours.stddev) < BLANK_DEVIATION:
        colour = "black" if max(colours.mean) < _DARK else "one colour"
        raise ImageError(
            f"it is all {colour}: look at the model's settings, then use retry_rejects with "
            "another seed",
            reason="blank",
        )
    grey_HW = np.asarray(picture.convert("L"), dtype=np.float32)
    return MadeImage(picture, content, fingerprint(grey_HW))


def fingerprint(grey_HW: NDArray[np.float32]) -> int:
    """63 bits that hardly change with size, compression or sharpness: a perceptual hash.

    Which of the lowest 8 x 8 waves of a discrete cosine transform, but for the mean, are stronger
    than their median.
    """
    small = Image.fromarray(grey_HW).resize((_GRID, _GRID), Image.Resampling.BOX)
    waves = dctn(np.asarray(small, dtype=np.float32))[:_WAVES, :_WAVES].ravel()[1:]
    bits = np.packbits(np.concatenate([[False], waves > np.median(waves)]))
    return int.from_bytes(bits.tobytes(), "big")


def fingerprint_signs(fingerprints: NDArray[np.int64]) -> NDArray[np.float32]:
    """The bits of fingerprints [n] as 1 and -1 [n, 63]: products count those that agree."""
    raw = fingerprints.astype(">i8").view(np.uint8).reshape(-1, 8)
    return np.unpackbits(raw, axis=1)[:, 1:].astype(np.float32) * 2 - 1
