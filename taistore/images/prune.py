"""Take photos that are gone out of a store, with all that belongs to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from taistore.errors import StoreError
from taistore.images.missing_photos import Missing, Place, is_there, look_for, photos
from taistore.images.paths import give_up, holds_hash
from taistore.images.sources.folder import has_image_suffix
from taistore.images.sources.open_source import ImageSource
from taistore.printable import may_be_escaped
from taistore.progress import Progress, no_progress
from taistore.store.store import Store
from taistore.store.writes.removal import remove_image_orphans, remove_vectors

SETTLED = timedelta(minutes=10)
"""Vectors without an image that are younger may be those of a job that is about to add it."""

BLOCK = 4096
"""Images that go in one commit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneSummary:
    """What was removed, or would be where ``applied`` is False.

    Of ``images`` that were looked at, ``gone`` have no path left; ``paths`` are gone in all,
    ``examples`` are the first of them. ``vectors`` counts rows of vectors and regions, also of
    contents that were replaced before, ``rejects`` those of photos that are gone.
    ``lost_folders`` have none of their photos left: is their disk there?
    """

    source: str
    applied: bool
    images: int
    gone: int
    paths: int
    vectors: int
    rejects: int
    examples: tuple[str, ...]
    lost_folders: tuple[str, ...]


def prune(
    store: Store,
    source: ImageSource | None = None,
    *,
    apply: bool = False,
    lost_folders: bool = False,
    settled: timedelta = SETTLED,
    progress: Progress = no_progress,
) -> PruneSummary:
    """Find the photos of the store that are gone; remove them where ``apply`` is given.

    Without ``source`` these are all whose files are absent; with a folder those of them below it;
    with a manifest or a data set also those in the folder of its photos that it does not list. An
    image that has another path keeps that one, and an image that never was a file stays. With an
    image go what was known of it, its vectors and its rejects.

    Nothing goes where whole folders are lost, as with a disk that is not mounted: a
    :class:`StoreError` names them, unless ``lost_folders`` says that they may. A photo that cannot
    be looked at counts as there. Vectors without an image go as well, once they are ``settled``.
    Killed at any instant and run again, it ends the same. Raises what the source raises.
    """
    place = Place(source)
    with progress("prune", total=None, unit="image") as bar:
        missing = look_for(store, place)
        bar.advance(missing.images)
    if apply and missing.lost_folders and not lost_folders:
        first, *more = missing.lost_folders
        others = f" and {len(more):,} more folders" if more else ""
        raise StoreError(
            f"{first}{others}: none of the store's photos is there: mount the disk, or, where they "
            "are gone for good, give lost_folders="
        )
    vectors = 0
    for lost, gone in _blocks(store, place, missing):
        # Another job may have found one of them elsewhere since.
        removed = store.missing("images", give_up(store, lost)) if apply else gone
        vectors += remove_vectors(store, removed, apply=apply)
    vectors += remove_image_orphans(store, older_than=settled, apply=apply)
    return PruneSummary(
        source=store.uri if source is None else source.name,
        applied=apply,
        images=missing.images,
        gone=missing.gone,
        paths=missing.paths,
        vectors=vectors,
        rejects=_tidy_rejects(store, place, apply=apply),
        examples=tuple(missing.examples),
        lost_folders=tuple(missing.lost_folders),
    )


def _blocks(
    store: Store, place: Place, missing: Missing
) -> Iterator[tuple[dict[str, set[str]], list[str]]]:
    """The paths that images lose, some images at a time, and those images that lose all."""
    hashes = missing.hashes()
    lost: dict[str, set[str]] = {}
    gone: list[str] = []
    for image_id, paths in photos(store) if len(hashes) else ():
        # Looked at once more: a file may have come back.
        absent = {
            path
            for path in paths
            if holds_hash(hashes, path) and not (is_there(path) and place.lists(path))
        }
        if absent:
            lost[image_id] = absent
        if len(absent) == len(paths):
            gone.append(image_id)
        if len(lost) == BLOCK:
            yield lost, gone
            lost, gone = {}, []
    if lost:
        yield lost, gone


def _tidy_rejects(store: Store, place: Place, *, apply: bool) -> int:
    """Forget rejects of photos that are gone; returns how many there are.

    A path that is written with escapes is not the file's own, so nothing is known of that file.
    """
    count = 0
    for batch in store.scan("rejects", columns=["job", "uri"], batch_rows=BLOCK):
        gone: dict[str, list[str]] = {}
        for row in batch.to_pylist():
            path = row["uri"]
            photo = place.holds(path) and has_image_suffix(path) and not may_be_escaped(path)
            if photo and not is_there(path):
                gone.setdefault(row["job"], []).append(path)
                count += 1
        for job, uris in gone.items() if apply else ():
            store.clear_rejects(job, uris)
    return count
