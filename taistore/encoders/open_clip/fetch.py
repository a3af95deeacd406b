"""The weights file of a pretrained tag: from open_clip's cache, else from the model hub."""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import open_clip
from huggingface_hub import constants, try_to_load_from_cache

from taistore.errors import EncoderError

_SAFE, _PICKLED = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
_PATIENCE = 5.0  # seconds to reach the hub; huggingface_hub itself retries for a minute
_PROXIES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")


def fetch_tag(model: str, tag: str, entry: Mapping[str, Any], weights_dir: Path | None) -> Path:
    """The local weights file of ``tag``, downloaded once if need be.

    ``entry`` is open_clip's for this tag; ``weights_dir`` replaces its usual cache folder. Raises
    :class:`EncoderError` at once where there is no way to the hub.
    """
    cache = str(weights_dir) if weights_dir else None
    hub = str(entry.get("hf_hub") or "")
    if hub and (cached := _cached(hub, cache)):
        return cached
    url = constants.ENDPOINT if hub else str(entry.get("url") or "")
    if reason := _unreachable(url, from_hub=bool(hub)):
        raise EncoderError(_no_weights(model, tag, reason))
    try:
        target = open_clip.download_pretrained(dict(entry), cache_dir=cache)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise EncoderError(_no_weights(model, tag, reason)) from None
    return Path(target)


def _cached(hub: str, cache: str | None) -> Path | None:
    repository, _, filename = hub.rpartition("/")
    for name in _names(filename):
        found = try_to_load_from_cache(repository, name, cache_dir=cache)
        if isinstance(found, str):
            return Path(found)
    return None


def _names(filename: str) -> Iterator[str]:
    """The order in which open_clip looks for a repository's weights."""
    if not filename:
        yield from (_SAFE, _PICKLED)
        return
    if filename.endswith((".bin", ".pth")):
        yield filename[:-4] + ".safetensors"
    yield filename


def _unreachable(url: str, *, from_hub: bool) -> str:
    """Why ``url`` cannot be reached; empty where it can, or where only a proxy knows."""
    if from_hub and constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    parts = urlsplit(url)
    if any(os.environ.get(name) for name in _PROXIES):
        return ""
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE).close()
    except OSError as error:
        return f"{parts.hostname} cannot be reached: {error.strerror or error}"
    return ""


def _no_weights(model: str, tag: str, reason: str) -> str:
    return (
        f"the weights of open_clip:{model}/{tag} cannot be fetched ({reason}): connect once, give "
        f"a file as open_clip:{model}//path/to/weights.safetensors, or use encoder=packaged, "
        "which needs no download"
    )
