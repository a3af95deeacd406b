"""An encoder that adds up the processor time that it takes, registered as a plugin."""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taistore.encoders.protocol import Encoder, EncoderInfo, Float32, ImageVectors


class TimedEncoder:
    """``seconds`` were spent in counting tokens and encoding texts and images.

    Those of the calling thread, which are all there are while torch has one thread: photos are
    decoded in others.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.seconds = 0.0

    @property
    def info(self) -> EncoderInfo:
        """That of the encoder."""
        return self._encoder.info

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """That of the encoder, timed."""
        began = time.thread_time()
        counts = self._encoder.count_tokens(texts)
        self.seconds += time.thread_time() - began
        return counts

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """That of the encoder, timed."""
        began = time.thread_time()
        vectors = self._encoder.encode_texts(texts)
        self.seconds += time.thread_time() - began
        return vectors

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """That of the encoder."""
        return self._encoder.prepare(image)

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """That of the encoder, timed."""
        began = time.thread_time()
        vectors = self._encoder.encode_images(pixels, regions=regions)
        self.seconds += time.thread_time() - began
        return vectors
