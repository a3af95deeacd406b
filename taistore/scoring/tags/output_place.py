"""Whether a file can be written, and may be, before a long job begins; nothing is written."""

import errno
import os
import tempfile
from pathlib import Path

from taistore.errors import ScoringError
from taistore.labels import LabelSet
from taistore.scoring.tags.read_tags import read_tags
from taistore.scoring.tags.tag_file import require_suffix
from taistore.store.places import local_path


def require_writable(path: Path, *, option: str) -> None:
    """Raise :class:`ScoringError` where ``path`` is no file, or in a place without write access.

    ``option`` is what names it. A URI raises :class:`StoreError`.
    """
    local_path(path, option=option)
    try:
        if path.is_dir():
            raise ScoringError(f"{path} is a directory: name a file for {option}=")
        if path.exists() and not path.is_file():
            raise ScoringError(f"{path} is a device, no file: name a file for {option}=")
        folder = path.parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        # To ask for rights is not enough: whoever may do anything has them in /proc too.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError, ValueError) as error:
        raise unwritable(path, error, option=option) from error


def unwritable(path: Path, error: Exception, *, option: str) -> ScoringError:
    """The error of a file that cannot be written."""
    detail = getattr(error, "strerror", None) or error
    return ScoringError(f"{path}: cannot be written ({detail}): name another file for {option}=")


def require_own_tags(out: Path, labels: LabelSet) -> None:
    """Raise :class:`ScoringError` where ``out`` is of no known format, or holds no tags.

    For jobs that replace it: what somebody else wrote is not theirs. A table without rows is one of
    tags by its columns; a file without a byte, or a line, is nobody's.
    """
    require_suffix(local_path(out, option="out"))
    require_writable(out, option="out")
    try:
        if out.exists():
            next(read_tags(out, labels=labels), None)
    except ScoringError as error:
        raise ScoringError(
            f"{out} is there already and is no file of tags, so that it is not replaced: name "
            "another file for out="
        ) from error
