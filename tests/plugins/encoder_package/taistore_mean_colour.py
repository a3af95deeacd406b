"""An encoder as a package of its own: photos by their mean colour, texts by the colours they name.

B batch, D embedding dimension.
"""

import numpy as np

from taistore.encoders.protocol import EncoderInfo, ImageVectors

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "white": (1, 1, 1)}
SIDE = 16


class MeanColourEncoder:
    """Vectors [B, 4]: red, green, blue, and a little that is the same everywhere."""

    def __init__(self, side):
        self.info = EncoderInfo(
            encoder_id=f"mean_colour_{side}",
            spec=f"mean-colour:{side}",
            library="taistore-mean-colour",
            model="mean-colour",
            weights="none",
            weights_digest="0" * 16,
            resolution=side,
            resize="squash",
            dim=4,
            context_length=64,
        )

    def count_tokens(self, texts):
        """Words."""
        return [len(text.split()) for text in texts]

    def encode_texts(self, texts):
        """Raw text vectors [B, D] float32."""
        rgb_B3 = np.zeros((len(texts), 3))
        for row, text in enumerate(texts):
            for name, rgb in COLOURS.items():
                rgb_B3[row] += np.array(rgb) * text.lower().count(name)
        return _scaled(rgb_B3)

    def prepare(self, image):
        """An upright RGB image to uint8 [3, H, W]."""
        side = self.info.resolution
        return np.asarray(image.resize((side, side)), dtype=np.uint8).transpose(2, 0, 1).copy()

    def encode_images(self, pixels, *, regions=0):
        """Raw image vectors of uint8 [B, 3, H, W], and those of G x G regions."""
        whole_BD = _scaled(pixels.mean(axis=(2, 3)) / 255)
        if not regions:
            return ImageVectors(whole_BD, None)
        rows = [
            np.array_split(band, regions, axis=3) for band in np.array_split(pixels, regions, 2)
        ]
        cells = [_scaled(cell.mean(axis=(2, 3)) / 255) for band in rows for cell in band]
        return ImageVectors(whole_BD, np.stack(cells, axis=1))


def load(argument=""):
    """The encoder of ``mean-colour`` or, with another side in pixels, ``mean-colour:32``."""
    return MeanColourEncoder(int(argument or SIDE))


def _scaled(rgb_B3):
    vectors_BD = np.concatenate([rgb_B3, np.full((len(rgb_B3), 1), 0.1)], axis=1)
    norms_B1 = np.linalg.norm(vectors_BD, axis=1, keepdims=True)
    return (10 * vectors_BD / norms_B1).astype(np.float32)
