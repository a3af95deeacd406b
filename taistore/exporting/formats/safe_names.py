"""Names of labels and photos for other tools: told apart, and safe as names of files."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping

from taistore.exporting.sidecars.keyword_names import keyword_of

MOST_BYTES = 120
"""Of a name, so that a number may follow it on any file system."""

_UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)


def class_names(labels: Mapping[str, str]) -> dict[str, str]:
    """A name for each label key: the label's own, with its key where others share it.

    >>> class_names({"a": "crane", "b": "crane", "c": "dog"})
    {'a': 'crane (a)', 'b': 'crane (b)', 'c': 'dog'}
    """
    plain = {key: keyword_of(name) or "_" for key, name in labels.items()}
    shared = Counter(plain.values())
    named = {k: n if shared[n] == 1 else f"{n} ({keyword_of(k)})" for k, n in plain.items()}
    # Keys that differ in controls alone, or a label that is called as another with its key.
    shared = Counter(named.values())
    return {k: n if shared[n] == 1 else f"{n} {_digest(k)}" for k, n in named.items()}


def folder_names(labels: Mapping[str, str]) -> dict[str, str]:
    """A folder's name for each label key, on any file system.

    >>> folder_names({"a": "AC/DC", "b": "..", "c": "dog"})
    {'a': 'AC_DC', 'b': '_', 'c': 'dog'}
    """
    safe = {key: _safe(name) for key, name in labels.items()}
    shared = Counter(map(_folded, safe.values()))
    return {k: n if shared[_folded(n)] == 1 else f"{n}-{_digest(k)}" for k, n in safe.items()}


def photo_names(uris: Iterable[str]) -> dict[str, str]:
    """A file's name for each photo: its own, with a digest of its path where others share it."""
    names = {uri: os.path.basename(uri) for uri in uris}  # noqa: PTH119 - a uri is no path
    shared = Counter(map(_folded, names.values()))
    return {u: n if shared[_folded(n)] == 1 else _told_apart(u, n) for u, n in names.items()}


def _told_apart(uri: str, name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    return f"{_cut(stem)}-{_digest(uri)}{suffix}"


def _safe(name: str) -> str:
    safe = _cut(_UNSAFE.sub("_", keyword_of(name))).strip(". ") or "_"
    return f"_{safe}" if _RESERVED.match(safe) else safe


def _cut(name: str) -> str:
    return name.encode(errors="replace")[:MOST_BYTES].decode(errors="ignore")


def _folded(name: str) -> str:
    """What some file systems take for the same name."""
    return unicodedata.normalize("NFC", name).casefold()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
