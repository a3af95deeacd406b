"""NUS-WIDE as a source: its lists of images and its files of zeros and ones per concept.

I images of a list, C concepts.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taistore.errors import ImageError, ManifestError
from taistore.images.sources.listing import photo_folder, reading
from taistore.images.sources.published.annotated_source import AnnotatedSource, ClassLabels
from taistore.images.sources.row_labels import RowError
from taistore.images.sources.source import SourceImage
from taistore.labels import LabelSet
from taistore.printable import printable
from taistore.store.rejects import Reject

_SPLITS = ("train", "test")
_PROBED = 1000


@dataclass(frozen=True, slots=True)
class _List:
    """A list of images with what they show: ``present`` [I, C] by ``label_ids`` [C]."""

    path: Path
    names: list[str]
    label_ids: NDArray[np.int64]
    present: NDArray[np.bool_]
    split: str | None


class NusWideSource(AnnotatedSource):
    """Images of a folder with ``ImageList`` and ``Groundtruth``, as NUS-WIDE publishes them.

    The official split: ``TrainImagelist.txt`` and ``TestImagelist.txt`` with
    ``TrainTestLabels/Labels_<concept>_Train.txt`` and ``_Test.txt``; without the folder
    ``TrainTestLabels``, ``Imagelist.txt`` with ``AllLabels/Labels_<concept>.txt``. Images are of
    the split train or test, and ``split`` takes those of one alone; where no lists give one, it
    is every image's. ``photos`` is their folder, by default ``Flickr`` or ``images``, with a
    folder per concept or without. Concepts are those of ``Concepts81.txt`` where it is there;
    one without a file of labels stays unknown. Many photos are gone from Flickr: those that are
    not in the folder are rejects.
    """

    def __init__(
        self,
        path: str | Path,
        labels: LabelSet,
        *,
        photos: str | Path | None = None,
        split: str | None = None,
    ) -> None:
        root = Path(os.path.realpath(path))
        self._images = root / "ImageList"
        self._truth = root / "Groundtruth"
        for folder in (self._images, self._truth):
            if not folder.is_dir():
                raise ImageError(
                    f"{root}: has no folder {folder.name!r}: name the folder of NUS-WIDE that "
                    "holds ImageList and Groundtruth",
                    reason="missing",
                )
        self._labels = labels
        self._split = split.lower() if split in ("Train", "Test") else split
        self._classes: ClassLabels | None = None
        self._unlabelled: list[str] = []
        self._lists: list[_List] | None = None
        self._flat = False
        super().__init__(str(root), photos="", whole_folder=split is None or not self._split_lists)
        folders = [root / "Flickr", root / "images", root / "Images", root]
        self._candidates = folders if photos is None else [Path(photos), Path(photos) / "Flickr"]
        self._given = photos is not None

    @property
    def _split_lists(self) -> dict[str, Path]:
        paths = {split: self._images / f"{split.title()}Imagelist.txt" for split in _SPLITS}
        return {split: path for split, path in paths.items() if path.is_file()}

    def count(self) -> int | None:
        """Number of images of the lists."""
        return sum(len(found.names) for found in self._read_lists())

    def _annotated(self) -> Iterator[SourceImage | Reject]:
        lists = self._read_lists()
        assert self._classes is not None
        splits = self._splits_by_name() if lists[0].split is None else {}
        for found in lists:
            for row, name in enumerate(found.names):
                split = found.split or splits.get(name)
                if splits and self._split is not None and split != self._split:
                    continue
                try:
                    uri = self._photo(self._local(name), field="image")
                except RowError as error:
                    place = f"{found.path}: line {row + 1}"
                    yield Reject(uri=place, reason=error.reason, detail=printable(str(error)))
                    continue
                annotation = self._classes.annotation(found.label_ids[found.present[row]].tolist())
                yield SourceImage(uri=uri, annotation=annotation, split=split or self._split)

    def _own_notes(self) -> list[str]:
        notes = [self._classes.note] if self._classes is not None else []
        if self._unlabelled:
            notes.append(
                f"{self._truth}: no labels of {', '.join(self._unlabelled)}: they stay unknown"
            )
        return notes

    def _local(self, name: str) -> str:
        path = name.replace("\\", "/")
        return path.rpartition("/")[2] if self._flat else path

    def _read_lists(self) -> list[_List]:
        if self._lists is None:
            with reading(self._path, "annotation file"):
                self._lists = self._read()
            self._find_photos([name for found in self._lists for name in found.names[:_PROBED]])
        return self._lists

    def _find_photos(self, names: list[str]) -> None:
        paths = [name.replace("\\", "/") for name in names]
        bare = [path.rpartition("/")[2] for path in paths]
        self._photos = photo_folder(
            self._path, self._candidates, [*paths, *bare], given=self._given
        )
        folder = Path(self._photos)
        self._flat = not any((folder / path).is_file() for path in paths) and any(
            (folder / name).is_file() for name in bare
        )

    def _read(self) -> list[_List]:
        both = self._truth / "TrainTestLabels"
        if both.is_dir() and self._split_lists:
            if self._split is not None and self._split not in self._split_lists:
                there = ", ".join(self._split_lists)
                raise ManifestError(
                    f"{self._images}: has no split {self._split!r:.60}: use split= with one of "
                    f"{there}"
                )
            wanted = [s for s in self._split_lists if self._split in (None, s)]
            files = {split: _label_files(both, f"_{split.title()}.txt") for split in wanted}
            self._name_classes({c for found in files.values() for c in found}, both)
            return [self._list(self._split_lists[s], files[s], split=s) for s in wanted]
        found = _label_files(self._truth / "AllLabels", ".txt")
        self._name_classes(set(found), self._truth / "AllLabels")
        if self._split is not None and self._split_lists and self._split not in _SPLITS:
            raise ManifestError(
                f"{self._images}: has no split {self._split!r:.60}: use split=train or split=test"
            )
        return [self._list(self._images / "Imagelist.txt", found, split=None)]

    def _splits_by_name(self) -> dict[str, str]:
        return {name: split for split, path in self._split_lists.items() for name in _lines(path)}

    def _name_classes(self, found: set[str], folder: Path) -> None:
        if not found:
            raise ManifestError(f"{folder}: has no files Labels_<concept>….txt: unpack them there")
        root = self._images.parent
        names = next(
            (
                _lines(path)
                for path in (root / "Concepts81.txt", root / "ConceptsList" / "Concepts81.txt")
                if path.is_file()
            ),
            sorted(found),
        )
        self._classes = ClassLabels(
            self._labels, [n for n in names if n in found], place=self._path
        )
        self._unlabelled = [
            name for name in names if name not in found and self._classes.find(name) is not None
        ]

    def _list(self, path: Path, files: dict[str, Path], *, split: str | None) -> _List:
        assert self._classes is not None
        names = _lines(path)
        if not names:
            raise ManifestError(f"{path}: lists no images: unpack NUS-WIDE's ImageList again")
        columns = [
            (label, file)
            for concept, file in files.items()
            if (label := self._classes.find(concept)) is not None
        ]
        present = np.zeros((len(names), len(columns)), dtype=np.bool_)
        for column, (_, file) in enumerate(columns):
            present[:, column] = _ones(file, len(names), path)
        label_ids = np.array([label for label, _ in columns], dtype=np.int64)
        return _List(path, names, label_ids, present, split)


def _label_files(folder: Path, ending: str) -> dict[str, Path]:
    """Files of labels by concept."""
    return {
        path.name[len("Labels_") : -len(ending)]: path
        for path in sorted(folder.glob(f"Labels_*{ending}"))
    }


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.strip() for line in lines]


def _ones(path: Path, length: int, images: Path) -> NDArray[np.bool_]:
    """Which lines are 1: bool [I]; every line must be 0 or 1, and there must be one per image."""
    with path.open("rb") as file:
        # Far longer than any list with as many lines: not a file of labels.
        values = [line.strip() for line in islice(file, length + 1000)]
    while values and not values[-1]:
        values.pop()
    for number, value in enumerate(values, start=1):
        if value not in (b"0", b"1"):
            raise ManifestError(
                f"{path}: line {number} is {value.decode(errors='replace')!r:.40}: it must be 0 "
                "or 1"
            )
    if len(values) != length:
        more = "or more " if len(values) == length + 1000 else ""
        raise ManifestError(
            f"{path}: has {len(values):,} {more}lines, but {images} lists {length:,} images: "
            "unpack both again"
        )
    present: NDArray[np.bool_] = np.array(values) == b"1"
    return present
