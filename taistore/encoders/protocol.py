"""What taistore asks of a dual encoder. Shapes: B batch, D embedding dimension, G region grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

    from taistore.devices.copies import Copies

Float32 = NDArray[np.float32]
ResizeMode = Literal["squash", "crop"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EncoderInfo:
    """Everything that identifies an encoder; two encoders never share a vector table.

    ``encoder_id`` is derived from the other fields and safe as part of a table name
    (``[a-z0-9_]+``). ``context_length`` counts tokens with the special ones; ``None`` means that
    the encoder cannot encode text (imported vectors).
    """

    encoder_id: str
    spec: str
    library: str
    model: str
    weights: str
    weights_digest: str
    resolution: int
    resize: ResizeMode
    dim: int
    context_length: int | None


class ImageVectors(NamedTuple):
    """Raw (not normalised) vectors of a batch: whole images [B, D], regions [B, G*G, D] or None.

    Regions run row by row from the top left.
    """

    whole: Float32
    regions: Float32 | None


class Encoder(Protocol):
    """A frozen dual encoder (Eq. 1 and 4 of arXiv:2312.04160).

    Equal inputs give equal vectors, and every vector is finite. What ``prepare`` raises sets that
    one photo aside and the job goes on, with ``reason`` and message of an
    :class:`~taistore.errors.ImageError`. What the others raise ends the job, as
    :class:`~taistore.errors.EncoderError` or another of taistore's errors in its own words, as
    anything else reported as a mistake of the plugin. ``prepare`` is called from several threads;
    the others are not.

    All must be there. An encoder that cannot cut a photo into regions raises EncoderError where
    ``regions`` is not 0; one of images alone has no ``context_length`` and is never given a text.
    """

    @property
    def info(self) -> EncoderInfo:
        """What identifies this encoder."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with the special ones, before any cut; compare to context_length."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Raw text vectors [n, D] float32 (Eq. 1); raises TextError where a text is too long."""
        ...

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """An upright RGB image to model input size: uint8 [3, H, W]; safe to call from threads."""
        ...

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """Raw image vectors (Eq. 4) of ``pixels`` uint8 [B, 3, H, W] as ``prepare`` makes them.

        ``regions`` = G > 0 also returns the vectors of a G x G grid of regions.
        """
        ...


@runtime_checkable
class DeviceEncoder(Encoder, Protocol):
    """An encoder that need not be waited for, so that copies and Python overlap with its work.

    ``encode_images`` is its three steps at once, and they give the same vectors: pixels are copied
    to its device, the work is launched there, what it made is copied back.
    """

    @property
    def copies(self) -> "Copies | None":
        """How its device copies while it works; None where it works in this machine's memory."""
        ...

    def launch_images(
        self, pixels: "Tensor", *, regions: int = 0
    ) -> "tuple[Tensor, Tensor | None]":
        """Vectors [B, D] and [B, G*G, D], to be made on its device of uint8 [B, 3, H, W] there."""
        ...

    def image_vectors(self, whole: "Tensor", regions: "Tensor | None") -> ImageVectors:
        """What :meth:`launch_images` made, once it is on the CPU; raises as ``encode_images``."""
        ...
