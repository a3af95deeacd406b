"""The production encoder: any CLIP that open_clip knows, from a pretrained tag or a weights file.

Shapes: B batch, H and W the resolution, D embedding dimension, G region grid.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from taistore.devices.copies import copies_to
from taistore.encoders.open_clip.catalogue import (
    QUICK,
    Recipe,
    known_spec,
    model_config,
    native_resolution,
    recipe_of_file,
    recipe_of_tag,
    tag_config,
)
from taistore.encoders.open_clip.clip_prompts import ClipPrompts
from taistore.encoders.open_clip.fetch import fetch_tag
from taistore.encoders.open_clip.model import build_model, cast_model, fit_weights
from taistore.encoders.open_clip.spec import NO_POSITIONS, OpenClipSpec
from taistore.encoders.open_clip.text_tower import TextTower, load_tokenizer
from taistore.encoders.pixels import PixelFitter
from taistore.encoders.precision import resolve_device, resolve_precision
from taistore.encoders.protocol import EncoderInfo, Float32, ImageVectors
from taistore.encoders.regions import region_encoder
from taistore.encoders.weights import read_weights, weights_digest
from taistore.errors import EncoderError

_DIGITS = 10  # of the weights digest in an encoder_id
_TEXT_TOKENS, _TEXT_TOKENS_GPU = 1024, 32768


class OpenClipEncoder:
    """A frozen open_clip model as taistore's ``Encoder``; made by :func:`load_open_clip`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        info: EncoderInfo,
        recipe: Recipe,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self._info = info
        self._model = model
        self._device = device
        self._dtype = dtype
        self._texts = TextTower(
            model,
            tokenizer,
            name=info.model,
            tokens=_TEXT_TOKENS if device.type == "cpu" else _TEXT_TOKENS_GPU,
        )
        self._fit = PixelFitter(
            resolution=info.resolution, resize=info.resize, interpolation=recipe.interpolation
        )
        self._regions = region_encoder(self._model.visual)
        self.copies = copies_to(device)
        # (pixel / 255 - mean) / std as one multiplication and one addition per value.
        deviation = torch.tensor(recipe.std, device=device).view(3, 1, 1)
        self._scale = 1 / (255 * deviation)
        self._shift = -torch.tensor(recipe.mean, device=device).view(3, 1, 1) / deviation

    @property
    def info(self) -> EncoderInfo:
        """What identifies this encoder."""
        return self._info

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with begin and end, before any cut."""
        return self._texts.count(texts)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Raw text vectors [n, D] float32 (Eq. 1 of arXiv:2312.04160).

        Raises :class:`TextError` naming the first text beyond ``info.context_length``.
        """
        if not texts:
            return np.empty((0, self._info.dim), dtype=np.float32)
        return self._finite(self._texts.encode(texts, self._device))

    def prompt_tower(self) -> ClipPrompts:
        """Its text tower, given token embeddings; EncoderError where it is one of transformers."""
        return ClipPrompts(self._texts, self._device)

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """An upright RGB image to uint8 [3, H, W]; safe to call from threads."""
        return self._fit(image)

    @torch.inference_mode()
    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """Raw image vectors [B, D] (Eq. 4 of arXiv:2312.04160) of uint8 [B, 3, H, W].

        ``regions`` = G > 0 also returns [B, G*G, D]. Raises :class:`EncoderError` where the image
        tower has no regions or its vectors overflow.
        """
        side = self._info.resolution
        if pixels.ndim != 4 or pixels.shape[1:] != (3, side, side) or pixels.dtype != np.uint8:
            raise EncoderError(
                f"{self._info.encoder_id} takes uint8 [B, 3, {side}, {side}], not "
                f"{pixels.dtype} {list(pixels.shape)}: make the pixels with its prepare()"
            )
        self._require_regions(regions)
        if len(pixels) == 0:
            empty = np.empty((0, self._info.dim), dtype=np.float32)
            nothing = np.empty((0, regions**2, self._info.dim), dtype=np.float32)
            return ImageVectors(empty, nothing if regions else None)
        # torch warns of arrays that it may not write to; it never writes to this one.
        source = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        return self.image_vectors(*self.launch_images(source.to(self._device), regions=regions))

    @torch.inference_mode()
    def launch_images(
        self, pixels: torch.Tensor, *, regions: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The model's own numbers, to be made on its device of pixels that are there."""
        self._require_regions(regions)
        images = pixels.float().mul_(self._scale).add_(self._shift)
        images = images.to(self._dtype, memory_format=torch.channels_last)
        if self._regions is None or not regions:
            return self._model.encode_image(images, normalize=False), None
        return self._regions(images, regions)

    def image_vectors(self, whole: torch.Tensor, regions: torch.Tensor | None) -> ImageVectors:
        """These as float32; raises :class:`EncoderError` where one overflows."""
        return ImageVectors(self._finite(whole), None if regions is None else self._finite(regions))

    def _require_regions(self, regions: int) -> None:
        if regions and self._regions is None:
            raise EncoderError(
                f"open_clip:{self._info.model} has no region vectors (its image tower pools with "
                "queries of its own): use regions=0"
            )

    def _finite(self, vectors: torch.Tensor) -> Float32:
        values: Float32 = vectors.float().cpu().numpy()
        if not np.isfinite(values).all():
            raise EncoderError(
                f"{self._info.encoder_id} overflows in {str(self._dtype).removeprefix('torch.')}: "
                "use precision=bf16 or precision=fp32"
            )
        return values


def load_open_clip(
    spec: OpenClipSpec | str,
    *,
    device: str = "auto",
    precision: str = "auto",
    weights_dir: str | Path | None = None,
) -> OpenClipEncoder:
    """Load the encoder that ``spec`` names (grammar in ``open_clip_spec``).

    ``weights_dir`` replaces the cache folder of downloaded weights. Raises :class:`EncoderError`
    for an unknown model or tag, weights that cannot be fetched, are damaged or do not fit, and a
    resolution or an option that the model cannot take.
    """
    parsed = known_spec(spec)
    where, dtype = _placed(device, precision)
    folder = Path(weights_dir).expanduser() if weights_dir else None
    path = parsed.weights_file
    if path is None:
        path = fetch_tag(
            parsed.model, parsed.weights, tag_config(parsed.model, parsed.weights), folder
        )
    weights = read_weights(path)
    recipe = (
        recipe_of_file(parsed.model, path, weights)
        if parsed.weights_file
        else recipe_of_tag(parsed.model, parsed.weights)
    )
    resolution = parsed.resolution or native_resolution(parsed.model)
    model = build_model(
        parsed.model, resolution=resolution, quick_gelu=recipe.quick_gelu, dtype=dtype
    )
    fit_weights(
        model,
        weights.tensors,
        model=parsed.model,
        resolution=resolution,
        where=f"the tensors of {path}",
    )
    tokenizer = load_tokenizer(parsed.model)
    info = _info(parsed, recipe, weights_digest(weights.tensors), int(tokenizer.context_length))
    del weights
    cast_model(model, dtype, where, positions=parsed.positions)
    return OpenClipEncoder(model, tokenizer, info=info, recipe=recipe, device=where, dtype=dtype)


def _placed(device: str, precision: str) -> tuple[torch.device, torch.dtype]:
    where = resolve_device(device)
    return where, resolve_precision(precision, where)


def _info(spec: OpenClipSpec, recipe: Recipe, digest: str, context_length: int) -> EncoderInfo:
    resolution = spec.resolution or native_resolution(spec.model)
    # Two activations on the same weights are two encoders, however the model was named.
    name = spec.model.removesuffix(QUICK) + (QUICK if recipe.quick_gelu else "")
    path = spec.weights_file
    options = spec.resize if spec.positions else spec.resize + NO_POSITIONS
    parts = ("open_clip", name, str(resolution), options, digest[:_DIGITS])
    return EncoderInfo(
        encoder_id=re.sub(r"[^a-z0-9]+", "_", "_".join(parts).lower()),
        spec=str(spec),
        library="open_clip",
        model=name,
        weights=path.name if path else spec.weights,
        weights_digest=digest,
        resolution=resolution,
        resize=spec.resize,
        dim=int(model_config(spec.model)["embed_dim"]),
        context_length=context_length,
    )
