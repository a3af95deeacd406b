"""A small real dual encoder over colours: quick, deterministic and without weights.

Its space holds one direction per colour word, so the text "a photo of red" lies near red photos,
and half red, half blue pictures lie near "red and blue". Shapes: B batch, C colours, D embedding
dimension, G region grid, P pixels.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from taistore.encoders.protocol import EncoderInfo, Float32, ImageVectors
from taistore.errors import TextError

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (35, 60, 210),
    "yellow": (240, 220, 40),
    "orange": (245, 140, 20),
    "purple": (130, 40, 160),
    "pink": (250, 160, 200),
    "brown": (115, 70, 35),
    "black": (12, 12, 12),
    "grey": (128, 128, 128),
    "white": (245, 245, 245),
    "cyan": (60, 210, 220),
}
"""The colour words that the encoder understands, with the RGB that stands for each."""

NORM = 10.0
GAP = 0.3
"""Texts and images lie this far (of the unit vector) to either side of their common space."""

FILLER = 0.1
POSITION = 0.2
SHARPNESS = 40.0**2


def colour_image(*names: str, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A picture (width, height) of vertical stripes of equal width in the named colours."""
    width, height = size
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    for columns, name in zip(np.array_split(np.arange(width), len(names)), names, strict=True):
        pixels[:, columns] = COLOURS[name]
    return Image.fromarray(pixels)


class ColourEncoder:
    """Implements :class:`taistore.encoders.protocol.Encoder`; vectors have norm 10.

    Images: how much of the picture each colour covers, a little of where. Texts: the colour words
    among white-space separated words, a little of the other words. ``batches`` counts the calls of
    ``encode_images``, so that a test can see that nothing was encoded twice.
    """

    def __init__(
        self,
        *,
        dim: int = 32,
        resolution: int = 32,
        context_length: int | None = 32,
        name: str = "colour",
    ) -> None:
        if dim < len(COLOURS) + 3:
            raise ValueError(f"dim is {dim}: at least {len(COLOURS) + 3} are needed")
        self._info = EncoderInfo(
            encoder_id=f"{name}_{dim}_{resolution}",
            spec=f"{name}@{resolution}",
            library="tests",
            model=name,
            weights="none",
            weights_digest="0" * 16,
            resolution=resolution,
            resize="squash",
            dim=dim,
            context_length=context_length,
        )
        random = np.random.default_rng(7)
        basis_DD = np.linalg.qr(random.standard_normal((dim, dim)))[0]
        self._colours_CD = basis_DD[: len(COLOURS)]
        self._places_2D = basis_DD[len(COLOURS) : len(COLOURS) + 2]
        self._gap_D = basis_DD[len(COLOURS) + 2]
        self.batches = 0
        self.encoded = 0

    @property
    def info(self) -> EncoderInfo:
        """What identifies this encoder."""
        return self._info

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """White-space separated words, a begin and an end token."""
        return [len(text.split()) + 2 for text in texts]

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Raw text vectors [n, D]; raises TextError where a text is too long."""
        limit = self._info.context_length
        if limit is None:
            raise TextError(f"{self._info.spec}: this encoder cannot encode text")
        for text, count in zip(texts, self.count_tokens(texts), strict=True):
            if count > limit:
                raise TextError(f"{text[:40]!r}: {count} tokens, at most {limit}: shorten it")
        if not texts:
            return np.empty((0, self._info.dim), dtype=np.float32)
        return self._scaled(np.stack([self._text(text) for text in texts]), GAP)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """An upright RGB image to uint8 [3, H, W]."""
        size = (self._info.resolution, self._info.resolution)
        pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.uint8)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """Raw vectors of uint8 [B, 3, H, W]: whole [B, D] and regions [B, G*G, D] or None."""
        self.batches += 1
        self.encoded += len(pixels)
        cover_BHWC = self._cover(pixels)
        whole_BD = self._image(cover_BHWC)
        if not regions:
            return ImageVectors(whole_BD, None)
        cells = [
            self._image(cell)
            for rows in np.array_split(cover_BHWC, regions, axis=1)
            for cell in np.array_split(rows, regions, axis=2)
        ]
        return ImageVectors(whole_BD, np.stack(cells, axis=1))

    def _cover(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        prototypes_C3 = np.array(list(COLOURS.values()), dtype=np.float64)
        rgb_BHW3 = pixels.transpose(0, 2, 3, 1).astype(np.float64)
        distance = ((rgb_BHW3[..., None, :] - prototypes_C3) ** 2).sum(-1) / SHARPNESS
        weight = np.exp(distance.min(-1, keepdims=True) - distance)
        cover_BHWC: NDArray[np.float64] = weight / weight.sum(-1, keepdims=True)
        return cover_BHWC

    def _image(self, cover_BHWC: NDArray[np.float64]) -> Float32:
        _, height, width, colours = cover_BHWC.shape
        mean_BC = cover_BHWC.mean((1, 2))
        common_BHW = cover_BHWC.max(-1)
        across = (common_BHW * np.linspace(-1, 1, width)).mean((1, 2))
        down = (common_BHW * np.linspace(-1, 1, height)[:, None]).mean((1, 2))
        # One hot colour alone must not outweigh a mixture: square roots keep small parts visible.
        colour_BD = np.sqrt(mean_BC)[:, :colours] @ self._colours_CD
        place_BD = np.stack([across, down], axis=1) @ self._places_2D
        return self._scaled(colour_BD + POSITION * place_BD, -GAP)

    def _text(self, text: str) -> NDArray[np.float64]:
        words = [word.strip(".,;:!?\"'()").lower() for word in text.split()]
        vector_D = np.zeros(self._info.dim)
        for word in dict.fromkeys(words):
            if word in COLOURS:
                vector_D += self._colours_CD[list(COLOURS).index(word)]
            else:
                vector_D += FILLER * self._filler(word)
        return vector_D

    def _filler(self, word: str) -> NDArray[np.float64]:
        seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "big")
        vector_D = np.random.default_rng(seed).standard_normal(self._info.dim)
        unit_D: NDArray[np.float64] = vector_D / np.linalg.norm(vector_D)
        return unit_D

    def _scaled(self, vectors_BD: NDArray[np.float64], gap: float) -> Float32:
        norm_B1 = np.linalg.norm(vectors_BD, axis=1, keepdims=True)
        shifted_BD = vectors_BD / np.maximum(norm_B1, 1e-12) + gap * self._gap_D
        length_B1 = np.linalg.norm(shifted_BD, axis=1, keepdims=True)
        scaled_BD: Float32 = (NORM * shifted_BD / length_B1).astype(np.float32)
        return scaled_BD
