"""A file beside photos is replaced whole, or not at all, whoever else is at work there.

A lock on the folder keeps two exports apart and leaves nothing behind; a program that knows of no
lock is noticed, as the file is read again right before it is replaced. Links are never followed.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from taistore.exporting.folder_lock import locked_folder
from taistore.exporting.set_aside import SetAsideError

Change = Literal["written", "merged", "unchanged", "removed"]
"""``written``: a new file. ``removed``: it was ours alone and is gone, or there was none."""

MAX_TRIES = 3

Rewrite = Callable[[bytes | None], bytes | None]
"""From a file's bytes (None: there is none) to what it is to be (None: no file)."""


def rewrite(path: Path, change: Rewrite, *, most: int, dry_run: bool = False) -> Change:
    """Replace ``path``, of at most ``most`` bytes, by what ``change`` makes of it.

    Raises :class:`SetAsideError`, also where the folder cannot be written to.
    """
    try:
        with locked_folder(path.parent) as folder:
            return _rewrite(folder, path.name, change, most=most, dry_run=dry_run)
    except OSError as error:
        raise SetAsideError(f"cannot be written ({error.strerror or error})") from error


def _rewrite(folder: int, name: str, change: Rewrite, *, most: int, dry_run: bool) -> Change:
    for _ in range(MAX_TRIES):
        before = _read(folder, name, most=most)
        # An empty file holds nothing of anybody.
        after = change(before or None)
        if after == before or not (after or before):
            return "unchanged"
        if dry_run:
            _require_writable(folder)
        elif after is None:
            if _read(folder, name, most=most) != before:
                continue
            os.unlink(name, dir_fd=folder)
        elif not _replaced(folder, name, after, before, most=most):
            continue
        return "removed" if after is None else "merged" if before else "written"
    raise SetAsideError("is being changed by another program: run it again later")


def _read(folder: int, name: str, *, most: int) -> bytes | None:
    try:
        kind = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(kind):
        raise SetAsideError("is a link, which may lead elsewhere")
    if not stat.S_ISREG(kind):
        raise SetAsideError("is no plain file")
    opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with open(opened, "rb") as file:  # noqa: PTH123 - relative to a folder's descriptor
        data = file.read(most + 1)
    if len(data) > most:
        raise SetAsideError(f"is larger than {most // 2**20} MiB")
    return data


def _require_writable(folder: int) -> None:
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder):
        raise SetAsideError("its folder is read-only")


def _replaced(folder: int, name: str, after: bytes, before: bytes | None, *, most: int) -> bool:
    """Put ``after`` in its place, with the mode that it had; not where it changed meanwhile."""
    part = f".taistore-{hashlib.sha256(os.fsencode(name)).hexdigest()[:12]}.part"
    # What a killed export left here has the same name, as its sidecar is still to be written.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    opened = os.open(part, flags, 0o666, dir_fd=folder)
    try:
        with open(opened, "wb") as file:  # noqa: PTH123
            if before is not None:
                _copy_rights(folder, name, file.fileno())
            file.write(after)
            if before:
                # Somebody's work is replaced. A new file that a power cut empties is made again,
                # and to wait for the disk each time would cost ten times as much.
                file.flush()
                os.fsync(file.fileno())
        if _read(folder, name, most=most) == before:
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
            return True
        return False
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=folder)


def _copy_rights(folder: int, name: str, opened: int) -> None:
    """Give a file the mode of ``name``, and its owner where we may."""
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    mine = os.fstat(opened)
    if (found.st_uid, found.st_gid) != (mine.st_uid, mine.st_gid):
        with contextlib.suppress(OSError):
            os.fchown(opened, found.st_uid, found.st_gid)
    os.fchmod(opened, stat.S_IMODE(found.st_mode))
