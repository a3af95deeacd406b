"""Odd files for tests: a PNG that claims any size, and files that may not be read."""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager


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
