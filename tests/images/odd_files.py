"""Odd files for tests: a PNG that claims any size, files that may not be read or are watched."""

import functools
import os
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_watched: list[tuple[str, list[str]]] = []


def png(width: int, height: int, *, depth: int = 8) -> bytes:
    """A PNG of this size by its header, with next to no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(10)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@contextmanager
def without_rights() -> Iterator[None]:
    """Drop root's rights, to which no file mode applies, for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def opened_files(folder: Path) -> Iterator[list[str]]:
    """The paths of files below ``folder`` that Python opens meanwhile, one entry each time."""
    _watch()
    opened: list[str] = []
    _watched.append((str(folder), opened))
    try:
        yield opened
    finally:
        _watched.pop()


@functools.cache
def _watch() -> None:
    sys.addaudithook(_note_opened)  # it stays for good, and mostly does nothing


def _note_opened(event: str, arguments: tuple[object, ...]) -> None:
    if _watched and event == "open" and isinstance(arguments[0], str | os.PathLike):
        for folder, opened in _watched:
            if os.fspath(arguments[0]).startswith(folder + os.sep):
                opened.append(os.fspath(arguments[0]))
