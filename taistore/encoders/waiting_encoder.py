"""An encoder that is loaded by whatever first has something to encode, if anything has.

Shapes: B batch, D embedding dimension, G region grid.
"""

import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taistore.encoders.protocol import Encoder, EncoderInfo, Float32, ImageVectors


class WaitingEncoder:
    """An :class:`Encoder` that is known by its ``info``; ``load`` is called once, when needed."""

    def __init__(self, info: EncoderInfo, load: Callable[[], Encoder]) -> None:
        self.info = info
        self._load = load
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None

    def loaded(self) -> Encoder:
        """The encoder itself; raises what loading it does."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self._load()
            return self._encoder

    @property
    def is_loaded(self) -> bool:
        """Whether it waits no more."""
        return self._encoder is not None

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return self.loaded().count_tokens(texts)

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Raw text vectors [n, D]."""
        return self.loaded().encode_texts(texts)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """An upright RGB image to uint8 [3, H, W]; safe to call from threads."""
        return self.loaded().prepare(image)

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """Raw image vectors of uint8 [B, 3, H, W], whole [B, D] and regions [B, G*G, D]."""
        return self.loaded().encode_images(pixels, regions=regions)


def make_ready(encoder: Encoder) -> None:
    """Load an encoder that waits: what fails with that is the job's error, never one photo's."""
    if isinstance(encoder, WaitingEncoder):
        encoder.loaded()


def waits(encoder: Encoder) -> bool:
    """Whether it is one that is not loaded yet."""
    return isinstance(encoder, WaitingEncoder) and not encoder.is_loaded


def at_hand(encoder: Encoder) -> Encoder:
    """The encoder itself where it waited and is loaded by now, else what was given."""
    if isinstance(encoder, WaitingEncoder) and encoder.is_loaded:
        return encoder.loaded()
    return encoder
