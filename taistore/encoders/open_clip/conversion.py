"""OpenAI's own CLIP files, which are TorchScript archives, into ``.safetensors``.

``torch.load(weights_only=True)`` refuses such an archive; ``torch.jit.load`` reads it, and may run
what is in it. So a file is only loaded where its SHA-256 is one that OpenAI published, or where the
user trusts it. What is kept of it are its tensors.
"""

import hashlib
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import save_file

from taistore.encoders.open_clip.activation import METADATA_KEY
from taistore.encoders.open_clip.catalogue import QUICK, model_config
from taistore.encoders.open_clip.encoder import load_open_clip
from taistore.encoders.open_clip.spec import OpenClipSpec
from taistore.encoders.protocol import EncoderInfo
from taistore.encoders.weights import (
    OPENAI_SIZES,
    is_torchscript,
    weights_digest,
    without_sizes,
)
from taistore.errors import EncoderError

_SUFFIX = ".safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversion:
    """A converted file: ``spec`` names it as an encoder.

    ``published`` is the model that OpenAI published the archive as, by its ``sha256``; None where
    it is none of theirs.
    """

    source: Path
    target: Path
    model: str
    sha256: str
    published: str | None
    tensors: int
    spec: str


def convert_checkpoint(
    source: Path, target: Path, *, model: str | None = None, trust: bool = False
) -> Conversion:
    """Write the weights of the TorchScript archive ``source`` to the new file ``target``.

    ``model`` is open_clip's name of the model that they were trained as; OpenAI's published files
    need none. ``trust`` allows loading any other archive, which may run the program in it. The
    result is loaded as an encoder and tried before it gets its name. Raises :class:`EncoderError`
    where the archive is none, is not trusted or damaged, does not fit the model, or where
    ``target`` is there or no ``.safetensors``.
    """
    _check_places(source, target)
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    published = openai_files().get(sha256)
    name = _model(source, model, published, trust=trust, sha256=sha256)
    named = _state_dict(source)
    if named.keys() >= OPENAI_SIZES and not model_config(name).get("quick_gelu", False):
        raise EncoderError(
            f"{source} is of the kind that OpenAI trained with QuickGELU, which {name} is not: "
            f"name model={name}{QUICK}"
        )
    tensors = without_sizes(named)
    metadata = {
        METADATA_KEY: str(bool(model_config(name).get("quick_gelu", False))).lower(),
        "taistore.model": name,
        "taistore.source": source.name,
        "taistore.source_sha256": sha256,
    }
    part = target.with_name(f"{target.stem}.part{_SUFFIX}")
    try:
        save_file(tensors, part, metadata)
        _try(part, name, weights_digest(tensors))
        part.rename(target)
    except (OSError, SafetensorError) as error:
        raise EncoderError(
            f"{target} cannot be written ({error}): check its folder and the room there"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return Conversion(
        source=source,
        target=target,
        model=name,
        sha256=sha256,
        published=published,
        tensors=len(tensors),
        spec=str(OpenClipSpec(model=name, weights=str(target))),
    )


def openai_files() -> dict[str, str]:
    """open_clip's name of each model that OpenAI published, by the SHA-256 of its file.

    >>> sorted(openai_files().values())[:2]
    ['RN101', 'RN50']
    """
    found = {}
    for model in open_clip.list_openai_models():
        parts = str(open_clip.get_pretrained_cfg(model, "openai").get("url") or "").split("/")
        if not model.endswith(QUICK) and "openaipublic" in "".join(parts[:3]):
            found[parts[-2]] = model
    return found


def _check_places(source: Path, target: Path) -> None:
    if not source.is_file():
        raise EncoderError(f"{source} is not a file: give OpenAI's archive, such as RN50.pt")
    if not is_torchscript(source):
        raise EncoderError(
            f"{source} is no TorchScript archive: nothing needs to be converted, or the download "
            "is not complete; name it as an encoder, such as open_clip:RN50-quickgelu/"
            f"{source.name}"
        )
    if target.suffix != _SUFFIX:
        raise EncoderError(f"{target} does not end in {_SUFFIX}: name the new file so")
    if target.exists():
        raise EncoderError(f"{target} is there already: name another file, or remove it")


def _model(
    source: Path, model: str | None, published: str | None, *, trust: bool, sha256: str
) -> str:
    if model is not None:
        model_config(model)
    if published is not None:
        own = published + QUICK
        if model not in (None, own):
            raise EncoderError(
                f"{source} is OpenAI's {published}, by its SHA-256: leave model= out, or name {own}"
            )
        return own
    if not trust:
        raise EncoderError(
            f"{source} is no file that OpenAI published (SHA-256 {sha256}), and loading it may run "
            "the program in it: download it again, or give trust= where you know who made it"
        )
    if model is None:
        raise EncoderError(
            f"{source} is no file that OpenAI published: name the model= that it was trained as, "
            "such as RN50-quickgelu"
        )
    return model


def _state_dict(source: Path) -> dict[str, torch.Tensor]:
    load: Callable[..., Any] = torch.jit.load
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated; the archives remain
            module = load(str(source), map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        reason = (str(error).strip().splitlines() or ["nothing to read"])[0][:160]
        raise EncoderError(
            f"{source} is damaged or incomplete ({reason}): download it again"
        ) from error
    # Each tensor by itself: safetensors keeps no two that share their memory.
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def _try(path: Path, model: str, digest: str) -> EncoderInfo:
    """Load the new file as taistore will, and have it encode a text and a picture."""
    spec = OpenClipSpec(model=model, weights=str(path))
    encoder = load_open_clip(spec, device="cpu", precision="fp32")
    if encoder.info.weights_digest != digest:
        raise EncoderError(f"{path} does not hold what was written: check the disk and try again")
    encoder.encode_texts(["a photo of a cat"])
    grey = Image.new("RGB", (64, 48), (128, 128, 128))
    encoder.encode_images(encoder.prepare(grey)[None])
    return encoder.info
