"""Disks that are full or may not be written: a small tmpfs, a read-only mount."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOM = "64m"
"""Enough for every job of these tests."""


class SmallDisk:
    """A tmpfs at ``path`` whose free room a test sets."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, free: int) -> None:
        """Let so many bytes more fit in, in whole pages."""
        status = os.statvfs(self.path)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        self._size(str(used + free))

    def make_room(self) -> None:
        """Let much fit in."""
        self._size(ROOM)

    def _size(self, size: str) -> None:
        _mount("-o", f"remount,size={size}", str(self.path))


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[SmallDisk]:
    """A disk of its own at ``path``; skips where this process may not mount one."""
    path.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(path))
    try:
        yield SmallDisk(path)
    finally:
        _unmount(path)


@contextlib.contextmanager
def read_only(folder: Path, at: Path) -> Iterator[None]:
    """``folder`` at ``at`` as well, where nobody may write; skips where it cannot be mounted."""
    at.mkdir()
    _mount("--bind", str(folder), str(at))
    try:
        _mount("-o", "remount,ro,bind", str(at))
        yield
    finally:
        _unmount(at)


@contextlib.contextmanager
def reachable_by_all() -> Iterator[Path]:
    """A folder that every user may enter and read, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="taistore-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _mount(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["mount", *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except OSError as error:
        pytest.skip(f"needs mount: {error}")
    if done.returncode:
        pytest.skip(f"needs the right to mount: {done.stderr.strip()}")


def _unmount(path: Path) -> None:
    # Lazily: a file that a thread of Lance still holds open must not fail the test.
    subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=60)
