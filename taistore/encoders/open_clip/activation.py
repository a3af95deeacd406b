"""Which activation a weights file was trained with, where anything says it.

GELU and QuickGELU have no weights of their own: a file fits both, and under the wrong one every
vector is off without an error. What is looked at: what the file says of itself
(``taistore convert-checkpoint`` writes it), the name that a published file or hub folder bears, and
the numbers that only OpenAI's files hold. The tensors themselves tell nothing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip

from taistore.encoders.weights import OPENAI_SIZES, Weights

METADATA_KEY = "taistore.quick_gelu"
"""In the metadata of a ``.safetensors`` file: "true" or "false"."""

_HASHED = re.compile(r".*-[0-9a-f]{8}\.(pt|pth)")
"""File names with eight digits of their hash, which no other file has by chance."""


@dataclass(frozen=True, slots=True)
class Statement:
    """An activation, and what says so."""

    quick_gelu: bool
    by: str

    @property
    def activation(self) -> str:
        """Its name."""
        return "QuickGELU" if self.quick_gelu else "GELU"


def stated_activation(path: Path, weights: Weights) -> Statement | None:
    """What is known of the activation of the file at ``path``, which holds ``weights``."""
    said = weights.metadata.get(METADATA_KEY)
    if said in ("true", "false"):
        return Statement(said == "true", "its metadata")
    for name, quick_gelu in _published():
        if path.name == name or name in path.parts:
            return Statement(quick_gelu, f"its name, {name}")
    if weights.aside >= OPENAI_SIZES:
        return Statement(True, f"the {min(OPENAI_SIZES)} in it, as OpenAI's have")
    return None


def _published() -> Iterator[tuple[str, bool]]:
    """Names that tell one published file or hub folder, with its activation."""
    found: dict[str, set[bool]] = {}
    for model, tag in open_clip.list_pretrained():
        entry: Mapping[str, Any] = open_clip.get_pretrained_cfg(model, tag)
        for name in _names(entry):
            found.setdefault(name, set()).add(bool(entry.get("quick_gelu", False)))
    # A folder that holds files of both kinds tells nothing.
    yield from ((name, kinds.pop()) for name, kinds in found.items() if len(kinds) == 1)


def _names(entry: Mapping[str, Any]) -> Iterator[str]:
    file = str(entry.get("url") or "").rpartition("/")[2]
    if _HASHED.fullmatch(file):
        yield file
    repository = str(entry.get("hf_hub") or "").rpartition("/")[0]
    if repository:
        # As the hub's cache names its folder.
        yield f"models--{repository.replace('/', '--')}"
