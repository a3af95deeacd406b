"""Which of a store's photos are gone: from disk, from below a folder, or from a list of photos."""

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taistore.errors import ImageError
from taistore.images.paths import holds_hash, stored_paths
from taistore.images.sources.folder import FolderSource
from taistore.images.sources.open_source import ImageSource, SourceImage
from taistore.images.statements import uri_image_id
from taistore.store.store import Store


class Place:
    """Where photos are looked for: everywhere, below a folder, or in what a source lists.

    Of a source that lists its photos (a manifest, a data set), a photo that it does not name is
    gone, also where its file is there; ``root`` is the folder that holds all that it names. Raises
    :class:`ImageError` where a row of such a list cannot be used: its photo would be taken for
    gone.
    """

    def __init__(self, source: ImageSource | None) -> None:
        self.root = ""
        self._listed: NDArray[np.int64] | None = None
        if isinstance(source, FolderSource):
            self.root = source.name
        elif source is not None:
            self.root, self._listed = _listing(source)

    def holds(self, path: str) -> bool:
        """Whether a path is one that this place is about."""
        if not os.path.isabs(path):  # noqa: PTH117 - a uri that is no path is no Path either
            return False
        folder = self.root.rstrip("/")
        return path == folder or path.startswith(folder + "/")

    def lists(self, path: str) -> bool:
        """Whether a photo belongs here by its path."""
        return self._listed is None or holds_hash(self._listed, path)


def _listing(source: ImageSource) -> tuple[str, NDArray[np.int64]]:
    """The folder of all photos that a source lists, and the hashes of their paths."""
    root = None
    # 8 bytes a path: two of a million are taken for one with odds of 3 in 10^8.
    hashes = array("q")
    for item in source:
        if isinstance(item, SourceImage):
            hashes.append(hash(item.uri))
            folder = str(Path(item.uri).parent)
            root = folder if root is None else os.path.commonpath((root, folder))
        elif item.reason != "missing":
            raise ImageError(
                f"{source.name}: not all of it can be read, so nothing is known to be gone "
                f"({item.uri}: {item.detail}): mend that first",
                reason=item.reason,
            )
    if root is None:
        raise ImageError(
            f"{source.name}: lists no photo that is there: check the path", reason="no_images"
        )
    return root, np.unique(np.frombuffer(hashes, dtype=np.int64))


class Missing:
    """What :func:`look_for` found. Holds 8 bytes for a path that is gone, and every folder's name.

    ``images`` were looked at, ``gone`` of them have no path left, and ``paths`` are gone in all, of
    which ``examples`` are the first. ``lost_folders`` have none of their photos left.
    """

    def __init__(self) -> None:
        self.images = self.gone = self.paths = 0
        self.examples: list[str] = []
        self.lost_folders: list[str] = []
        self._hashes = array("q")

    def found(self, path: str) -> None:
        """Note that a path is gone."""
        self.paths += 1
        self._hashes.append(hash(path))
        if len(self.examples) < SHOWN_PATHS:
            self.examples.append(path)

    def hashes(self) -> NDArray[np.int64]:
        """Those of all paths that are gone, sorted."""
        return np.unique(np.frombuffer(self._hashes, dtype=np.int64))


SHOWN_PATHS = 10


def look_for(store: Store, place: Place) -> Missing:
    """Look at every path of the store that ``place`` is about."""
    missing = Missing()
    folders = _Folders()
    for _, paths in photos(store):
        here = [path for path in paths if place.holds(path)]
        missing.images += bool(here)
        lost = 0
        for path in here:
            there = is_there(path)
            folders.see(path, there=there)
            if not there or not place.lists(path):
                missing.found(path)
                lost += 1
        missing.gone += lost == len(paths)
    missing.lost_folders = folders.lost()
    return missing


def photos(store: Store) -> Iterator[tuple[str, list[str]]]:
    """Images that are known by their content, with their paths."""
    for image_id, paths in stored_paths(store):
        # An image that is known by its name never was a file.
        if image_id != uri_image_id(paths[0]):
            yield image_id, paths


def is_there(path: str) -> bool:
    """Whether a file may be there: only one that is surely absent is not."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


class _Folders:
    """Folders with and without photos, to tell deleted photos from a disk that is not mounted."""

    def __init__(self) -> None:
        self._alive: set[str] = set()
        self._missing: set[str] = set()
        self._seen = ""

    def see(self, path: str, *, there: bool) -> None:
        # A source may give "//" and "." within a path: one folder must have one name.
        folder = os.path.commonpath((path.rpartition("/")[0] or "/",))
        if folder in (self._alive if there else self._missing):
            return
        self._seen = os.path.commonpath((self._seen, folder)) if self._seen else folder
        if not there:
            self._missing.add(folder)
        while there and folder not in self._alive:
            self._alive.add(folder)
            folder = str(Path(folder).parent)

    def lost(self) -> list[str]:
        """The highest folders of which no photo is left, and which may be those of a disk that is
        not there: they are absent or empty, or hold all photos that were looked at."""
        found = set()
        for folder in self._missing - self._alive:
            highest = folder
            while highest != self._seen:
                parent = str(Path(highest).parent)
                if parent == highest or parent in self._alive:
                    break
                highest = parent
            if highest == self._seen or not _has_entries(highest):
                found.add(highest)
        return sorted(found)


def _has_entries(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(not entry.name.startswith(".") for entry in entries)
    except OSError:
        return False
