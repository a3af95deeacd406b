"""From what a writer gave to an upright RGB picture that shows something.

H height, W width.
"""

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from taistore.errors import ImageError
from taistore.images.decoding import decode_image, image_id
from taistore.images.upright import to_rgb

BLANK_DEVIATION = 2.0
"""Standard deviation of the grey values, of 255, below which a picture shows nothing."""

_DARK = 8.0


class MadeImage(NamedTuple):
    """A picture, and the hash of what it shows: that of its file's bytes, or of its pixels."""

    picture: Image.Image
    content: str


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
    grey_HW = np.asarray(picture.convert("L"), dtype=np.float32)
    if float(grey_HW.std()) < BLANK_DEVIATION:
        colour = "black" if float(grey_HW.mean()) < _DARK else "one colour"
        raise ImageError(
            f"it is all {colour}: look at the model's settings, then use retry_rejects with "
            "another seed",
            reason="blank",
        )
    return MadeImage(picture, content)
