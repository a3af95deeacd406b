"""Reading a weights file: tensors by name and nothing else; a file never gets to run code.

OpenAI's own CLIP files are TorchScript archives, which hold a program: they are refused with the
command that takes the weights out of one.
"""

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from taistore.errors import EncoderError

OPENAI_SIZES = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Numbers that OpenAI's own files hold among their tensors, and nobody else's."""

_NOT_WEIGHTS = OPENAI_SIZES | {"attn_mask"}
_COUNTERS = "num_batches_tracked"
# How torch says that a pickle names something else than tensors.
_OBJECTS = re.compile("Unsupported (global|class)|unsupported (GLOBAL|class)")


@dataclass(frozen=True, slots=True)
class Weights:
    """Tensors by name, the names of what lies ``aside`` of them, and the file's own ``metadata``.

    Only ``.safetensors`` files have metadata.
    """

    tensors: dict[str, torch.Tensor]
    aside: frozenset[str]
    metadata: Mapping[str, str]


def read_weights(path: Path) -> Weights:
    """The tensors of a ``.safetensors`` file or a checkpoint of tensors.

    The names are those of the model: a training checkpoint's ``state_dict`` is taken out and the
    ``module.`` of distributed training cut off. Raises :class:`EncoderError` naming the file.
    """
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "is not there"
        raise EncoderError(f"weights file {path} {what}: check the path after the model's name")
    try:
        content, metadata = _read(path)
    except PermissionError:
        raise EncoderError(f"weights file {path}: no permission to read it") from None
    except pickle.UnpicklingError as error:
        raise EncoderError(_refusal(path, error)) from None
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise EncoderError(_damaged(path, error)) from None
    named = {
        str(name).removeprefix("module."): tensor
        for name, tensor in _state_dict(content).items()
        if isinstance(tensor, torch.Tensor)
    }
    tensors = without_sizes(named)
    if not tensors:
        raise EncoderError(f"weights file {path} holds no tensors: give a model's state_dict")
    return Weights(tensors, frozenset(named.keys() - tensors.keys()), metadata)


def without_sizes(named: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights alone: scripted models hold sizes and the mask of every model beside them."""
    return {
        name: tensor
        for name, tensor in named.items()
        if name.rpartition(".")[2] not in _NOT_WEIGHTS
    }


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript archive, told by its names alone; nothing of it is loaded."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        # What tells TorchScript from torch.save: constants beside the data.
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def weights_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex sha256 over names, shapes and values as float32.

    The same weights in another container (``.pt``, ``.safetensors``, fp16 on disk)
    have the same digest, so a downloaded tag and its copy in a file are one encoder.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if not name.endswith(_COUNTERS):
            digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
            digest.update(tensors[name].detach().float().contiguous().numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[object, Mapping[str, str]]:
    if path.suffix.lower() == ".safetensors":
        from safetensors import SafetensorError, safe_open
        from safetensors.torch import load_file

        try:
            with safe_open(path, framework="pt") as file:
                metadata = dict(file.metadata() or {})
            return load_file(path), metadata
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    if is_torchscript(path):
        raise EncoderError(_torchscript(path))
    with warnings.catch_warnings():
        # torch warns of odd pickle protocols before it refuses the file; we say it in one line.
        warnings.simplefilter("ignore")
        # Mapping the file keeps one copy of the weights in memory instead of two.
        mapped = zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped), {}


def _state_dict(content: object) -> Mapping[object, object]:
    if not isinstance(content, Mapping):
        return {}
    nested = content.get("state_dict")
    return nested if isinstance(nested, Mapping) else content


def _refusal(path: Path, error: Exception) -> str:
    if _OBJECTS.search(str(error)):
        return (
            f"weights file {path} holds Python objects, which are not run here: save the model's "
            "state_dict, best as .safetensors"
        )
    return _damaged(path, error)


def _torchscript(path: Path) -> str:
    return (
        f"weights file {path} is a TorchScript archive, which holds a program: take its weights "
        f"out with 'taistore convert-checkpoint {path.name} {path.stem}.safetensors' and name "
        "that file"
    )


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).rpartition("WeightsUnpickler error:")[2]
    reason = " ".join(reason.split())[:120] or "nothing to read"
    return (
        f"weights file {path} is damaged, incomplete or not a weights file "
        f"({path.stat().st_size:,} bytes; {reason}): copy or download it again"
    )
