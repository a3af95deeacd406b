"""A folder of photos as a source."""

import os
from collections.abc import Iterator
from pathlib import Path

from taistore.errors import ImageError
from taistore.images.sources.source import SourceImage
from taistore.printable import printable
from taistore.store.rejects import Reject

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "dib", "tif", "tiff"),
        *("jp2", "j2k", "avif", "heic", "heif", "ppm", "pgm", "pbm"),
    )
)
"""Files of a folder that are tried; others are counted and left alone."""


class FolderSource:
    """All images below a folder, sorted by name within each directory; or a single image file.

    Follows symbolic links and reads every directory once, so loops end. Hidden files, hidden
    directories and files without an image's suffix are passed over and counted. Raises
    :class:`ImageError` while iterating when the folder cannot be listed.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = os.path.realpath(path)
        self._ignored = 0

    @property
    def name(self) -> str:
        """The folder's absolute path."""
        return self._path

    @property
    def ignored(self) -> int:
        """Hidden files and files that are no images."""
        return self._ignored

    @property
    def notes(self) -> tuple[str, ...]:
        """None."""
        return ()

    def count(self) -> int | None:
        """Number of images and rejects; lists the folder once more."""
        ignored = self._ignored
        items = sum(1 for _ in self)
        self._ignored = ignored
        return items

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        """Images in order; a directory named like an image is a reject, and its images come too."""
        self._ignored = 0
        if Path(self._path).is_file():
            yield self._item(self._path)
            return
        try:
            entries = _listing(self._path)
        except FileNotFoundError:
            raise ImageError(
                f"{self._path}: no such folder: check the path", reason="missing"
            ) from None
        except PermissionError:
            raise ImageError(
                f"{self._path}: no permission to list this folder: check its mode",
                reason="no_permission",
            ) from None
        except OSError as error:
            raise ImageError(
                f"{self._path}: cannot be listed: {error.strerror}", reason="unreadable"
            ) from None
        yield from self._walk(self._path, entries)

    def _walk(self, top: str, entries: "list[os.DirEntry[str]]") -> Iterator[SourceImage | Reject]:
        # A stack and not recursion: paths may be deeper than Python's call stack.
        seen = {_identity(top)}
        stack = [iter(entries)]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
            elif entry.name.startswith("."):
                self._ignored += 1
            elif not _is_directory(entry):
                if has_image_suffix(entry.name):
                    yield self._item(entry.path)
                else:
                    self._ignored += 1
            else:
                if has_image_suffix(entry.name):
                    yield _reject(entry.path, "directory", "a directory, not an image")
                try:
                    identity = _identity(entry.path)
                    if identity in seen:
                        continue
                    seen.add(identity)
                    stack.append(iter(_listing(entry.path)))
                except OSError as error:
                    denied = isinstance(error, PermissionError)
                    yield _reject(
                        entry.path,
                        "no_permission" if denied else "unreadable",
                        f"this folder cannot be listed: {error.strerror}",
                    )

    @staticmethod
    def _item(path: str) -> SourceImage | Reject:
        try:
            path.encode()
        except UnicodeEncodeError:
            return _reject(path, "bad_name", "the path is not UTF-8: rename it")
        return SourceImage(uri=path)


def _reject(path: str, reason: str, detail: str) -> Reject:
    return Reject(uri=printable(path), reason=reason, detail=detail)


def has_image_suffix(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    _, dot, suffix = name.rpartition(".")
    return (dot + suffix).lower() in IMAGE_SUFFIXES


def _listing(path: str) -> "list[os.DirEntry[str]]":
    with os.scandir(path) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_directory(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _identity(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino
