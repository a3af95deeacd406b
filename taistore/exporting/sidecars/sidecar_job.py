"""Sidecars of all photos, one whole file after another; run again, it does what is left."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from taistore.errors import ExportError
from taistore.exporting.export_options import ExportOptions, TagExport
from taistore.exporting.set_aside import SetAside, SetAsideError
from taistore.exporting.sidecars.json_sidecar import with_json_tags, without_json_run
from taistore.exporting.sidecars.keyword_names import keyword_of
from taistore.exporting.sidecars.sidecar_places import SidecarPlaces, sidecars_below
from taistore.exporting.sidecars.tag_entries import SidecarTag
from taistore.exporting.sidecars.whole_files import Change, Rewrite, rewrite
from taistore.exporting.sidecars.xml_source import MAX_BYTES
from taistore.exporting.sidecars.xmp_sidecar import with_tags, without_run
from taistore.exporting.tagged_photos import PhotoTag, TaggedPhoto, TaggedPhotos
from taistore.progress import Progress

SUFFIX = {"xmp": ".xmp", "sidecar-json": ".json"}
FIRST_FILES = 10


class _Work(NamedTuple):
    """One sidecar: what it is called in messages, where it is, and what becomes of it."""

    name: str
    path: Path
    change: Rewrite
    tags: int


def export_sidecars(
    photos: TaggedPhotos, options: ExportOptions, *, progress: Progress
) -> TagExport:
    """Write the tags of ``photos`` into their sidecars, or take back those of a run."""
    job = _SidecarJob(options, run=options.retract or photos.run)
    places = _places(photos, options)
    with progress("sidecars", total=len(photos), unit="photo") as bar:
        for photo in photos:
            with job.set_aside(photo.uri):
                path = places.of(photo.uri)
                job.do(_work(photo, path, options, run=job.run))
            bar.advance()
    return job.summary(images=len(photos))


def retract_below(folder: Path, options: ExportOptions, *, progress: Progress) -> TagExport:
    """Take back the tags of a run from every sidecar in a folder and those below."""
    assert options.retract is not None
    job = _SidecarJob(options, run=options.retract)
    count = 0
    with progress("sidecars", total=None, unit="sidecar") as bar:
        for path in sidecars_below(folder, SUFFIX[options.to]):
            count += 1
            # Most sidecars, and most JSON, are others': they are none of our business.
            with job.set_aside(str(path), quiet=options.to == "sidecar-json"):
                job.do(_Work(str(path), path, _taken_back(options, job.run), 0))
            bar.advance()
    return job.summary(images=count)


class _SidecarJob:
    def __init__(self, options: ExportOptions, *, run: str) -> None:
        # As it is in the sidecars, which cannot hold every character.
        self.run = keyword_of(run)
        if not self.run:
            raise ExportError("the run has no name: give one as run= or retract=")
        self._options = options
        self._counts: Counter[str] = Counter()
        self._files: list[str] = []
        self._set_aside: list[SetAside] = []
        self._tags = 0

    def do(self, work: _Work) -> None:
        """Rewrite one sidecar and count it."""
        done: Change
        if work.path.parent.is_dir():
            done = self._rewritten(work)
        elif work.change(None) is None:
            done = "unchanged"
        elif self._options.dry_run:
            done = "written"
        else:
            work.path.parent.mkdir(parents=True, exist_ok=True)
            done = self._rewritten(work)
        self._counts[done] += 1
        self._tags += work.tags
        if done != "unchanged" and len(self._files) < FIRST_FILES:
            self._files.append(str(work.path))

    def _rewritten(self, work: _Work) -> Change:
        return rewrite(work.path, work.change, most=MAX_BYTES, dry_run=self._options.dry_run)

    @contextlib.contextmanager
    def set_aside(self, name: str, *, quiet: bool = False) -> Iterator[None]:
        """Note what cannot be done with one photo or sidecar, and go on."""
        try:
            yield
        except SetAsideError as error:
            if not quiet:
                self._set_aside.append(SetAside(name, str(error)))
        except OSError as error:
            reason = f"cannot be written ({error.strerror or error})"
            self._set_aside.append(SetAside(name, reason))

    def summary(self, *, images: int) -> TagExport:
        options = self._options
        return TagExport(
            to=options.to,
            run=self.run,
            out=None if options.out is None else str(options.out),
            retracted=options.retract is not None,
            dry_run=options.dry_run,
            images=images,
            tags=self._tags,
            written=self._counts["written"],
            merged=self._counts["merged"],
            unchanged=self._counts["unchanged"],
            removed=self._counts["removed"],
            files=tuple(self._files),
            set_aside=tuple(self._set_aside),
        )


def _places(photos: TaggedPhotos, options: ExportOptions) -> SidecarPlaces:
    root = ""
    if options.out is not None:
        root = photos.folder() if options.root is None else str(options.root.absolute())
        if options.out.exists() and not options.out.is_dir():
            raise ExportError(f"{options.out} is no folder: name one for out=")
    return SidecarPlaces(
        SUFFIX[options.to],
        naming=options.naming if options.to == "xmp" else "full",
        out=options.out,
        root=root,
        must_exist=options.retract is None,
    )


def _work(photo: TaggedPhoto, path: Path, options: ExportOptions, *, run: str) -> _Work:
    if options.retract is not None:
        return _Work(photo.uri, path, _taken_back(options, run), 0)
    if options.to == "sidecar-json":
        change: Rewrite = partial(
            with_json_tags,
            tags=photo.tags,
            run=run,
            image=Path(photo.uri).name,
            image_id=photo.image_id,
        )
        return _Work(photo.uri, path, change, len(photo.tags))
    tags = list(_sidecar_tags(photo.tags))
    under = keyword_of(options.under)
    return _Work(photo.uri, path, partial(with_tags, tags=tags, run=run, under=under), len(tags))


def _sidecar_tags(tags: Iterable[PhotoTag]) -> Iterator[SidecarTag]:
    """Tags as keywords; a name of controls alone makes none."""
    for tag in tags:
        if keyword := keyword_of(tag.name):
            yield SidecarTag(keyword=keyword, label=keyword_of(tag.key), score=f"{tag.score:.4f}")


def _taken_back(options: ExportOptions, run: str) -> Rewrite:
    without = without_run if options.to == "xmp" else without_json_run

    def change(data: bytes | None) -> bytes | None:
        return None if data is None else without(data, run=run)

    return change
