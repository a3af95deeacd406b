"""Run by test_offline.py in a process without a network: the main job from labels to a page."""

import contextlib
import ctypes
import socket
import struct
import sys
from pathlib import Path

from taistore_cli.demo_photos import demo_labels, write_demo_photos
from taistore_cli.main import main

FORBIDDEN = ("socket.connect", "socket.sendto", "socket.getaddrinfo", "urllib.")
"""Binding is none of them: urllib3 finds out so, when it is imported, whether there is IPv6."""

tried: list[str] = []


def forbid(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: note whoever wants out of this process, and refuse."""
    if event.startswith(FORBIDDEN):
        tried.append(f"{event} {arguments}")
        raise OSError("no network here")


def run(*arguments: str | Path) -> None:
    """One command, which must succeed."""
    main([*map(str, arguments), "--quiet"], standalone_mode=False)


def job(folder: Path) -> None:
    """Every command that works without a network."""
    photos = write_demo_photos(folder, pairs=2, fours=0)
    labels, store = folder / "labels.txt", ("--store", folder / "store")
    labels.write_text("\n".join(demo_labels()) + "\n", encoding="utf-8")
    run("init", labels, "--encoder", "packaged:lite0@224", *store)
    run("generate-texts", "--count", "60", *store)
    run("ingest-images", photos, *store)
    run("train", "--epochs", "1", *store)
    run("evaluate", "latest", *store)
    tags = ("--out", folder / "tags.csv", "--html", folder / "tags.html")
    run("score", "latest", folder / "photos", "--regions", "0", *tags, *store)
    run("show", *store)
    run("optimize", *store)


def prove() -> None:
    """Both guards see who goes past them: Python's sockets and native code."""
    with socket.socket() as plain, contextlib.suppress(OSError):
        plain.connect(("127.0.0.1", 9))
    assert len(tried) == 1
    with socket.socket() as plain:
        address = struct.pack("=HH4s8x", socket.AF_INET, 0, bytes([127, 0, 0, 1]))
        assert ctypes.CDLL(None).connect(plain.fileno(), address, len(address)) == -1


if __name__ == "__main__":
    sys.addaudithook(forbid)
    job(Path(sys.argv[1]))
    assert not tried, tried
    assert not Path(sys.argv[2]).exists(), Path(sys.argv[2]).read_text(encoding="utf-8")
    prove()
