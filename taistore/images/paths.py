"""One content a path: where a path came to hold another content, the earlier one gives it up."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from taistore.errors import ImageError
from taistore.images.decoding import image_id, read_file
from taistore.images.statements import paths_of, put_paths, uri_image_id
from taistore.store.store import Store
from taistore.store.writes.revision import Change, Snapshot, revise

BLOCK_PATHS = 16_384
"""Paths that are looked at together: what is held of them, whatever the store's size."""

_COLUMNS = ("image_id", "uri", "other_uris")


def settle_paths(store: Store) -> int:
    """Make every path belong to the content that its file has; returns how many contents went.

    A content that has no path left is no image of the store any more: its row in ``images`` goes
    with what was known of it, its vectors stay. Of a path that cannot be read, or whose file has
    none of the contents, nothing is decided. It depends on the store and the files alone: two jobs
    that do it at once, or one that is killed and run again, end the same. 8 bytes a path are held.
    """
    shared = _shared_hashes(store)
    gone = 0
    for first in range(0, len(shared), BLOCK_PATHS):
        block = shared[first : first + BLOCK_PATHS]
        lost: dict[str, set[str]] = {}
        for path, image_ids in _holders(store, block).items():
            for loser in _losers(path, image_ids):
                lost.setdefault(loser, set()).add(path)
        if lost:
            gone += len(give_up(store, lost))
    return gone


def give_up(store: Store, lost: dict[str, set[str]]) -> list[str]:
    """Take paths from contents; returns those that had no other and are gone from ``images``."""

    def plan(images: Snapshot) -> Change:
        changed, removed = [], []
        for row in images.rows("image_id", list(lost)):
            paths = paths_of(row)
            left = [path for path in paths if path not in lost[row["image_id"]]]
            if not left:
                removed.append(row["image_id"])
            elif left != paths:
                put_paths(row, left)
                changed.append(row)
        return Change(rows=changed, removed=removed)

    return list(revise(store, "images", plan).removed)


def stored_paths(store: Store) -> Iterator[tuple[str, list[str]]]:
    """Every image of the store with its paths."""
    for batch in store.scan("images", columns=_COLUMNS):
        for row in batch.to_pylist():
            yield row["image_id"], paths_of(row)


def path_hashes(paths: Iterable[str]) -> NDArray[np.int64]:
    """Hashes of paths, 8 bytes each, sorted; two of a million are equal with odds of 3 in 10^8."""
    return np.sort(np.fromiter((hash(path) for path in paths), np.int64))


def holds_hash(hashes: NDArray[np.int64], path: str) -> bool:
    """Whether sorted hashes hold that of a path."""
    row = int(np.searchsorted(hashes, hash(path)))
    return row < len(hashes) and bool(hashes[row] == hash(path))


def _shared_hashes(store: Store) -> NDArray[np.int64]:
    """Hashes of the paths that several images have."""
    hashes = path_hashes(path for _, paths in stored_paths(store) for path in paths)
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def _holders(store: Store, hashes: NDArray[np.int64]) -> dict[str, list[str]]:
    """The images of each path with one of these hashes."""
    wanted = frozenset(hashes.tolist())
    found: dict[str, list[str]] = {}
    for image_id_, paths in stored_paths(store):
        for path in paths:
            if hash(path) in wanted:
                found.setdefault(path, []).append(image_id_)
    return found


def _losers(path: str, image_ids: list[str]) -> list[str]:
    """Those of the images that do not have the content of the file at this path."""
    # An image that is known by its name has no content to compare.
    contents = [i for i in image_ids if i != uri_image_id(path)]
    if len(contents) < 2:
        return []
    try:
        there = image_id(read_file(path))
    except ImageError:
        return []
    return [i for i in contents if i != there] if there in contents else []
