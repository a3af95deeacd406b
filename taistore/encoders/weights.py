"""Reading a weights file: tensors by name and nothing else; a file never gets to run code.

OpenAI's own CLIP files are TorchScript archives. ``torch.load(weights_only=True)`` refuses them
and ``torch.jit.load`` builds the program in them; here their pickle is read with a closed list of
names, so that tensors and containers come out and nothing is called that a file could choose.
"""

import hashlib
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from taistore.errors import EncoderError

# What scripted models hold beside their weights: sizes, and the mask that every model builds.
_NOT_WEIGHTS = frozenset({"input_resolution", "context_length", "vocab_size", "attn_mask"})
_COUNTERS = "num_batches_tracked"
# How torch and the reader below say that a pickle names something else than tensors.
_OBJECTS = re.compile("Unsupported (global|class)|unsupported (GLOBAL|class)|refused")


class Weights(NamedTuple):
    """Tensors by name; ``from_openai``: the file is a TorchScript archive, OpenAI's own format."""

    tensors: dict[str, torch.Tensor]
    from_openai: bool


def read_weights(path: Path) -> Weights:
    """Tensors of a ``.safetensors`` file, a checkpoint of tensors or a TorchScript archive.

    The names are those of the model: a training checkpoint's ``state_dict`` is taken out and the
    ``module.`` of distributed training cut off. Raises :class:`EncoderError` naming the file.
    """
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "is not there"
        raise EncoderError(f"weights file {path} {what}: check the path after the model's name")
    try:
        content, from_openai = _read(path)
    except PermissionError:
        raise EncoderError(f"weights file {path}: no permission to read it") from None
    except pickle.UnpicklingError as error:
        raise EncoderError(_refusal(path, error)) from None
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise EncoderError(_damaged(path, error)) from None
    tensors = {
        str(name).removeprefix("module."): tensor
        for name, tensor in _state_dict(content).items()
        if isinstance(tensor, torch.Tensor)
    }
    tensors = {name: tensor for name, tensor in tensors.items() if not _aside(name)}
    if not tensors:
        raise EncoderError(f"weights file {path} holds no tensors: give a model's state_dict")
    return Weights(tensors, from_openai)


def weights_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex sha256 over names, shapes and values as float32.

    The same weights in another container (``.pt``, ``.safetensors``, TorchScript, fp16 on disk)
    have the same digest, so a downloaded tag and its copy in a file are one encoder.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if not name.endswith(_COUNTERS):
            digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
            digest.update(tensors[name].detach().float().contiguous().numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[object, bool]:
    if path.suffix.lower() == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path), False
        except SafetensorError as error:
            raise ValueError(str(error)) from None
    zipped = zipfile.is_zipfile(path)
    if zipped:
        with zipfile.ZipFile(path) as archive:
            # What tells TorchScript from torch.save: constants beside the data.
            if any(name.endswith("/constants.pkl") for name in archive.namelist()):
                return _read_torchscript(archive), True
    with warnings.catch_warnings():
        # torch warns of odd pickle protocols before it refuses the file; we say it in one line.
        warnings.simplefilter("ignore")
        # Mapping the file keeps one copy of the weights in memory instead of two.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped), False


def _state_dict(content: object) -> Mapping[object, object]:
    if not isinstance(content, Mapping):
        return {}
    nested = content.get("state_dict")
    return nested if isinstance(nested, Mapping) else content


def _aside(name: str) -> bool:
    return name.rpartition(".")[2] in _NOT_WEIGHTS


def _refusal(path: Path, error: Exception) -> str:
    if _OBJECTS.search(str(error)):
        return (
            f"weights file {path} holds Python objects, which are not run here: save the model's "
            "state_dict, best as .safetensors"
        )
    return _damaged(path, error)


def _damaged(path: Path, error: Exception) -> str:
    reason = str(error).rpartition("WeightsUnpickler error:")[2]
    reason = " ".join(reason.split())[:120] or "nothing to read"
    return (
        f"weights file {path} is damaged, incomplete or not a weights file "
        f"({path.stat().st_size:,} bytes; {reason}): copy or download it again"
    )


class _ScriptModule:
    """Stands for a module of a TorchScript archive: its attributes, none of its code."""


def _rebuild_tensor(
    storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> torch.Tensor:
    return storage.as_strided(size, stride, offset)


def _same_list(items: list[object]) -> list[object]:
    return items


_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_KNOWN: dict[tuple[str, str], Callable[..., object]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.jit._pickle", "build_intlist"): _same_list,
    ("torch.jit._pickle", "build_tensorlist"): _same_list,
    ("torch.jit._pickle", "build_doublelist"): _same_list,
    ("torch.jit._pickle", "build_boollist"): _same_list,
}


class _ClosedReader(pickle.Unpickler):
    """Knows tensors, their containers and nothing else."""

    def __init__(self, stream: IO[bytes], archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(stream)
        self._archive = archive
        self._root = root
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if module_name.startswith("__torch__"):
            return _ScriptModule
        if module_name == "torch" and global_name in _DTYPES:
            return _DTYPES[global_name]
        try:
            return _KNOWN[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"refused {module_name}.{global_name}") from None

    def persistent_load(self, pid: Any) -> torch.Tensor:
        _, dtype, key, _, _ = pid
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            empty = torch.empty(0, dtype=dtype)
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else empty
        return self._storages[key]


def _read_torchscript(archive: zipfile.ZipFile) -> dict[str, torch.Tensor]:
    """Parameters and buffers by their dotted names, as ``state_dict`` would give them."""
    data = next((name for name in archive.namelist() if name.endswith("/data.pkl")), "")
    with archive.open(data) as stream:
        module = _ClosedReader(stream, archive, data.removesuffix("/data.pkl")).load()
    return _tensors(module, "")


def _tensors(module: object, prefix: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for name, value in vars(module).items() if isinstance(module, _ScriptModule) else ():
        if isinstance(value, torch.Tensor):
            found[prefix + name] = value
        else:
            found.update(_tensors(value, f"{prefix}{name}."))
    return found
