"""The packaged encoder: real weights that come inside packages of the registry, no download.

It is **not CLIP**. Nobody trained its two towers together: an ImageNet classifier says at every
position of the photo how likely each of 1,000 classes is, and the photo's vector is the expectation
of the classes' text vectors under that distribution (ConSE, Norouzi et al. 2013, arXiv:1312.5650,
done per position, which lets small things be seen). Texts and class texts go through the same
sentence encoder, all-MiniLM-L6-v2, and then into one space (``packaged_space``). What ImageNet has
no word for, it does not see.

Unit vectors are scaled to the norm sqrt(D), near the raw CLIP vectors that radii and adapters are
made for.

Shapes: B batch, D embedding dimension, N ImageNet classes, H and W positions, G region grid.
"""

import hashlib
import threading
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from taistore.devices.copies import copies_to
from taistore.encoders.packaged.efficientnet_lite import EfficientNetLite
from taistore.encoders.packaged.installed_files import (
    CLASS_TABLE,
    IMAGE_WEIGHTS,
    TEXT_WEIGHTS,
    TOKENIZER,
    locate,
    read_class_table,
    read_image_weights,
)
from taistore.encoders.packaged.minilm import CONTEXT_LENGTH, PackagedTokenizer, SentenceTower
from taistore.encoders.packaged.packaged_spec import (
    DEFAULT_MODEL,
    MODELS,
    PREFIX,
    model_resolution,
)
from taistore.encoders.packaged.sentence_prompts import SentencePrompts
from taistore.encoders.packaged.shared_space import DIM, WIDTH, SharedSpace
from taistore.encoders.protocol import EncoderInfo, Float32, ImageVectors
from taistore.errors import EncoderError

# A softened softmax keeps the second and third guess of a position, where the label often is.
_TEMPERATURE = 1.5
# Part of the encoder's id: vectors made in another way never share a table.
_RECIPE = f"expectation of class texts per position; softmax {_TEMPERATURE}, kernel {WIDTH}"
_GPU_BATCH = 64


class PackagedEncoder:
    """An ImageNet classifier and a sentence encoder as one ``Encoder``; not CLIP.

    Made by :func:`load_packaged`. The text tower is read when the first text comes.
    """

    def __init__(
        self,
        towers: Sequence[EfficientNetLite],
        space: SharedSpace,
        *,
        info: EncoderInfo,
        device: torch.device,
    ) -> None:
        self._info = info
        self._device = device
        self.copies = copies_to(device)
        self._towers = [
            tower.eval().to(device).to(memory_format=torch.channels_last) for tower in towers
        ]
        self._space = space
        self._classes_ND = space.classes_ND.to(device)
        self._lock = threading.Lock()
        self._tokenizer: PackagedTokenizer | None = None
        self._sentences: SentenceTower | None = None

    @property
    def info(self) -> EncoderInfo:
        """What identifies this encoder."""
        return self._info

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with the two special ones, before any cut."""
        return [len(ids) for ids in self._load_tokenizer().ids(texts)]

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Text vectors [n, D] float32 of norm sqrt(D) (Eq. 1 of arXiv:2312.04160).

        Raises :class:`TextError` naming the first text of more than 256 tokens.
        """
        ids = self._load_tokenizer().checked_ids(texts)
        if not ids:
            return np.empty((0, self._info.dim), dtype=np.float32)
        texts_nD = self._scaled(self._space.place(self._load_sentences().encode(ids)))
        values: Float32 = texts_nD.cpu().numpy()
        return values

    def prompt_tower(self) -> SentencePrompts:
        """Its text tower, given token embeddings."""
        return SentencePrompts(
            self._load_tokenizer(), self._load_sentences(), self._space, self._device
        )

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """An upright RGB image, squashed to uint8 [3, H, W]; safe to call from threads."""
        # What torchvision's resize does, without the two seconds of its import.
        source_HW3 = torch.from_numpy(
            np.array(image if image.mode == "RGB" else image.convert("RGB"))
        )
        size = [self._info.resolution] * 2
        fitted_13HW = F.interpolate(
            source_HW3.permute(2, 0, 1)[None], size, mode="bicubic", antialias=True
        )
        pixels: NDArray[np.uint8] = np.ascontiguousarray(fitted_13HW[0].numpy())
        return pixels

    @torch.inference_mode()
    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """Image vectors [B, D] of norm sqrt(D) (Eq. 4) of uint8 [B, 3, H, W] from ``prepare``.

        ``regions`` = G > 0 also returns [B, G*G, D]: the expectation over each cell's positions.
        """
        side = self._info.resolution
        if pixels.ndim != 4 or pixels.shape[1:] != (3, side, side) or pixels.dtype != np.uint8:
            raise EncoderError(
                f"{self._info.encoder_id} takes uint8 [B, 3, {side}, {side}], not "
                f"{pixels.dtype} {list(pixels.shape)}: make the pixels with its prepare()"
            )
        if len(pixels) == 0:
            empty = np.empty((0, self._info.dim), dtype=np.float32)
            nothing = np.empty((0, regions**2, self._info.dim), dtype=np.float32)
            return ImageVectors(empty, nothing if regions else None)
        # torch warns of arrays that it may not write to; it never writes to this one.
        source = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
        whole, cells = self.launch_images(source, regions=regions)
        return self.image_vectors(whole.cpu(), None if cells is None else cells.cpu())

    @torch.inference_mode()
    def launch_images(
        self, pixels: torch.Tensor, *, regions: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The vectors, to be made on its device."""
        # Photo by photo on a CPU: the feature maps of one stay in its cache (a batch of 16 takes
        # 1.6 times as long per photo), and a vector does not depend on its neighbours.
        step = 1 if self._device.type == "cpu" else _GPU_BATCH
        whole, cells = [], []
        for start in range(0, len(pixels), step):
            chance_BNHW = self._class_distributions(pixels[start : start + step])
            whole.append(self._expected_texts(chance_BNHW.mean(dim=(2, 3))))
            if regions:
                grid_BNGG = F.adaptive_avg_pool2d(chance_BNHW, regions)
                cells.append(self._expected_texts(grid_BNGG.flatten(2).transpose(1, 2)))
        return self._scaled(torch.cat(whole)), self._scaled(torch.cat(cells)) if regions else None

    def image_vectors(self, whole: torch.Tensor, regions: torch.Tensor | None) -> ImageVectors:
        """These as arrays."""
        return ImageVectors(whole.numpy(), None if regions is None else regions.numpy())

    def _class_distributions(self, pixels: torch.Tensor) -> torch.Tensor:
        images = pixels.to(self._device).float().sub_(127).div_(128)
        images = images.contiguous(memory_format=torch.channels_last)
        chances = [(tower(images) / _TEMPERATURE).softmax(dim=1) for tower in self._towers]
        return torch.stack(chances).mean(dim=0)

    def _expected_texts(self, chance_N: torch.Tensor) -> torch.Tensor:
        return chance_N @ self._classes_ND

    def _scaled(self, vectors: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = F.normalize(vectors, dim=-1) * self._info.dim**0.5
        return scaled

    def _load_tokenizer(self) -> PackagedTokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = PackagedTokenizer()
            return self._tokenizer

    def _load_sentences(self) -> SentenceTower:
        with self._lock:
            if self._sentences is None:
                # Weights that are read in inference mode could take no part in learning prompts.
                with torch.inference_mode(False):
                    self._sentences = SentenceTower(self._device)
            return self._sentences


def load_packaged(
    model: str = DEFAULT_MODEL, *, resolution: int | None = None, device: str = "cpu"
) -> PackagedEncoder:
    """Load the packaged encoder; ``model`` is ``lite0``, ``lite2`` or ``lite0+lite2``.

    Without ``resolution`` the model's own. Raises :class:`EncoderError` for an unknown model or
    weights that are not the ones it was measured with, :class:`MissingExtraError` where a package
    of the extra ``[offline]`` is missing.
    """
    side = model_resolution(model, resolution)
    names = MODELS[model].towers
    locate(TEXT_WEIGHTS)  # a missing package should show now, not after an hour of photos
    towers = [EfficientNetLite(read_image_weights(name), name) for name in names]
    space = SharedSpace(*read_class_table())
    return PackagedEncoder(towers, space, info=_info(model, side), device=torch.device(device))


def _info(model: str, resolution: int) -> EncoderInfo:
    towers = MODELS[model].towers
    files = [*(IMAGE_WEIGHTS[name] for name in towers), TEXT_WEIGHTS, TOKENIZER, CLASS_TABLE]
    parts = [file.sha256 for file in files] + [_RECIPE]
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    name = model.replace("+", "_")
    return EncoderInfo(
        encoder_id=f"{PREFIX}_{name}_{resolution}_{digest[:10]}",
        spec=f"{PREFIX}:{model}@{resolution}",
        library=PREFIX,
        model=f"efficientnet-{model} (ImageNet-1k) + all-MiniLM-L6-v2, not CLIP",
        weights="packages of the extra [offline]",
        weights_digest=digest,
        resolution=resolution,
        resize="squash",
        dim=DIM,
        context_length=CONTEXT_LENGTH,
    )
