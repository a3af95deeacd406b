"""What the sources of published data sets share: classes that are labels, and photos beside them.

A data set's annotation says of each of its own classes whether an image shows it. It says nothing
about a label that is none of its classes, so an image is only complete where they cover the set.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from taistore.errors import ManifestError
from taistore.images.sources.folder import FolderSource
from taistore.images.sources.listing import image_path, reading
from taistore.images.sources.row_labels import LabelFinder, RowError
from taistore.images.sources.source import Annotation, SourceImage
from taistore.labels import LabelSet
from taistore.printable import printable
from taistore.store.rejects import Reject

_NAMED = 10


class ClassLabels:
    """The classes of a data set as labels of the set, found by key, name or synonym.

    ``place`` is what messages call the annotations. Raises :class:`ManifestError` when no class
    is a label, or the name of one is that of several labels.
    """

    def __init__(self, labels: LabelSet, classes: Iterable[str], *, place: str) -> None:
        self._finder = LabelFinder(labels)
        self._place = place
        self._ids: dict[str, int | None] = {}
        classes = list(dict.fromkeys(classes))
        self._covered = frozenset(
            label for name in classes if (label := self.find(name)) is not None
        )
        self._complete = len(self._covered) == len(labels)
        if classes and not self._covered:
            shown = ", ".join(classes[:3])
            raise ManifestError(
                f"{place}: none of its {len(classes)} classes ({shown}, …) is in the label set: "
                "is this the store for them?"
            )

    def find(self, name: str) -> int | None:
        """The label of a class, None where the label set has none."""
        if name not in self._ids:
            try:
                self._ids[name] = self._finder.find_any(name)
            except RowError as error:
                raise ManifestError(f"{self._place}: {error}") from None
        return self._ids[name]

    def annotation(self, positives: Iterable[int], unknown: Iterable[int] = ()) -> Annotation:
        """What is known where ``positives`` are all classes present, save those ``unknown``."""
        present = frozenset(positives)
        unsure = frozenset(unknown) - present
        if self._complete and not unsure:
            return Annotation(positives=tuple(sorted(present)), complete=True)
        absent = self._covered - present - unsure
        return Annotation(
            positives=tuple(sorted(present)),
            negatives=tuple(sorted(absent)),
            unknown=tuple(sorted(unsure)),
        )

    @property
    def note(self) -> str:
        """Names the classes met so far that are not in the label set; empty without any."""
        outside = [name for name, label in self._ids.items() if label is None]
        if not outside:
            return ""
        more = ", …" if len(outside) > _NAMED else ""
        return (
            f"{self._place}: {len(outside)} of its classes are not in the label set and were left "
            f"out: {', '.join(map(printable, outside[:_NAMED]))}{more}"
        )


class AnnotatedSource(ABC):
    """Photos below a folder with the annotations of a data set; keeps ``ImageSource``.

    An annotated photo that is not there is a reject; photos of the folder that no annotation
    names follow with unknown labels, where ``whole_folder`` holds. Iterating raises
    :class:`ManifestError` when the annotations as a whole cannot be used.
    """

    def __init__(self, path: str, *, photos: str, whole_folder: bool = True) -> None:
        self._path = path
        self._photos = photos
        self._whole_folder = whole_folder
        self._start()

    @property
    def name(self) -> str:
        """Absolute path of the annotations."""
        return self._path

    @property
    def ignored(self) -> int:
        """Files of the photos' folder that are no images."""
        return self._ignored

    @property
    def notes(self) -> tuple[str, ...]:
        """Classes outside the label set, photos without annotation, and what else was left out."""
        notes = self._own_notes()
        if self._unannotated:
            notes.append(
                f"{self._photos}: {self._unannotated:,} images have no annotation in "
                f"{self._path}: their labels stay as they were, unknown for new ones"
            )
        return tuple(note for note in notes if note)

    def count(self) -> int | None:
        """Unknown before the annotations are read, unless a source knows better."""
        return None

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        """Annotated photos in the order of the annotations, then those of the folder alone."""
        self._start()
        with reading(self._path, "annotation file"):
            for item in self._annotated():
                if isinstance(item, SourceImage) and item.annotation is None:
                    self._unannotated += 1
                missing = isinstance(item, SourceImage) and not _exists(item.uri)
                yield self._missing(item.uri) if missing else item
        if self._whole_folder:
            yield from self._rest()

    @abstractmethod
    def _annotated(self) -> Iterator[SourceImage | Reject]:
        """The items that annotations speak of."""

    @abstractmethod
    def _own_notes(self) -> list[str]:
        """Notes on the annotations; empty ones are left out."""

    def _start(self) -> None:
        self._ignored = self._unannotated = 0
        # A photo's path takes 8 bytes here; among 10 million the odds that two share a hash, and
        # one is passed over, are 3 in a million.
        self._seen = array("q")

    def _photo(self, name: object, *, field: str) -> str:
        """The path of a photo that annotations name; raises RowError where it is none."""
        uri = image_path(self._photos, name, field=field)
        self._seen.append(hash(uri))
        return uri

    def _missing(self, uri: str) -> Reject:
        return Reject(
            uri=printable(uri),
            reason="missing",
            detail=printable(f"no such file, though {self._path} lists it"),
        )

    def _rest(self) -> Iterator[SourceImage | Reject]:
        seen = np.unique(np.frombuffer(self._seen, dtype=np.int64))
        folder = FolderSource(self._photos)
        for item in folder:
            self._ignored = folder.ignored
            row = int(np.searchsorted(seen, hash(item.uri)))
            if row < len(seen) and seen[row] == hash(item.uri):
                continue
            if isinstance(item, SourceImage):
                self._unannotated += 1
            yield item
        self._ignored = folder.ignored


def _exists(uri: str) -> bool:
    try:
        return Path(uri).exists()
    except OSError:
        # A path that cannot be looked at: reading it will say why.
        return True
