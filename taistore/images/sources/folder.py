"""A folder of photos as a source."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from taistore.errors import ImageError
from taistore.images.sources.skipped import SkippedFiles, is_passed_over, kind_of_file
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

    Hidden files and folders, those that systems keep beside photos (:func:`is_passed_over`) and
    files without an image's suffix are passed over and counted, photos and videos in formats that
    are not read among them (``skipped``). Every directory is read once, so loops end. A link to a
    folder that lies elsewhere is skipped too, as whoever names a folder means what is in it; the
    folder that was named may itself be a link, or hidden. Raises :class:`ImageError` while
    iterating when the folder cannot be listed.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = os.path.realpath(path)
        self._ignored = 0
        self._skipped = SkippedFiles()

    @property
    def name(self) -> str:
        """The folder's absolute path."""
        return self._path

    @property
    def ignored(self) -> int:
        """What was passed over, ``skipped`` files among them."""
        return self._ignored

    @property
    def skipped(self) -> Mapping[str, int]:
        """Of what was passed over, what may be photos: RAW, videos and such, by kind."""
        return self._skipped.counts

    @property
    def notes(self) -> tuple[str, ...]:
        """The line about what was skipped, if anything was."""
        return tuple(filter(None, (str(self._skipped),)))

    def count(self) -> int | None:
        """Number of images and rejects; lists the folder once more."""
        return sum(1 for _ in FolderSource(self._path))

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        """Images in order; a directory named like an image is a reject, and its images come too."""
        self._ignored = 0
        self._skipped = SkippedFiles()
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
            elif is_passed_over(entry.name):
                self._ignored += 1
            elif not _is_directory(entry):
                if has_image_suffix(entry.name):
                    yield self._item(entry.path)
                else:
                    self._pass_over(kind_of_file(entry.name))
            elif entry.is_symlink() and not _is_below(entry.path, top):
                self._pass_over("links")
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

    def _pass_over(self, kind: str | None) -> None:
        self._ignored += 1
        if kind is not None:
            self._skipped.add(kind)

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


def _is_below(path: str, top: str) -> bool:
    """Whether a link leads to ``top``, which is no link, or below it."""
    there = os.path.realpath(path)
    return os.path.commonpath((there, top)) == top


def _identity(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino
