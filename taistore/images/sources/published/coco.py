"""COCO ``instances_*.json`` as a source: which categories have a box in an image, and which none.

I images, A annotations (boxes). The file is streamed; what is kept takes 13 bytes per box.
"""

import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ijson
import numpy as np
from numpy.typing import NDArray

from taistore.errors import ManifestError
from taistore.images.sources.listing import photo_folder, reading
from taistore.images.sources.published.annotated_source import AnnotatedSource, ClassLabels
from taistore.images.sources.row_labels import RowError
from taistore.images.sources.shallow_json import ShallowJson
from taistore.images.sources.source import SourceImage
from taistore.labels import LabelSet
from taistore.printable import printable
from taistore.store.rejects import Reject
from taistore.store.tables.label_lists import Ragged

Crowd = Literal["positive", "ignore"]

_OUTSIDE, _UNDEFINED = -1, -2
_BUFFER = 2**18
_PROBED = 1000


@dataclass(frozen=True, slots=True)
class _Index:
    """The file, digested: rows of ``positives`` and ``crowd`` are those of ``names`` [I]."""

    classes: ClassLabels
    names: list[object]
    positives: Ragged
    crowd: Ragged
    undefined: dict[int, int]
    strays: NDArray[np.int64]


class CocoSource(AnnotatedSource):
    """Images of a COCO file of instances; a category without a box in an image is absent there.

    ``crowd`` says what a label becomes that only boxes with ``iscrowd`` show: "positive", since a
    crowd of persons does show persons, and since the loader that multi-label papers on COCO share
    (``getAnnIds(imgIds=…)`` without ``iscrowd``) counts every annotation of an image; or "ignore":
    unknown, as detection leaves crowds out. ``photos`` is their folder; by default the one beside
    the file that is named as its split (``train2017`` for ``instances_train2017.json``). An
    annotation of an image that the file does not define is a reject, and so is an image with one
    of an undefined category. Raises :class:`ImageError` where no folder has the photos, and
    :class:`ManifestError`, also before anything is yielded, where the file is broken or cut off.
    """

    def __init__(
        self,
        path: str | Path,
        labels: LabelSet,
        *,
        photos: str | Path | None = None,
        crowd: Crowd = "positive",
        split: str | None = None,
    ) -> None:
        self._file = Path(os.path.realpath(path))
        self._labels = labels
        self._crowd = crowd
        self._split = split
        self._cached: _Index | None = None
        super().__init__(str(self._file), photos="")
        if photos is not None:
            candidates = [Path(photos), *_children(Path(photos), self._file)]
        else:
            folders = [self._file.parent.parent, self._file.parent]
            candidates = [child for folder in folders for child in _children(folder, self._file)]
        self._candidates = candidates
        self._given = photos is not None

    def count(self) -> int | None:
        """Images and rejected annotations of the file."""
        index = self._index()
        return len(index.names) + len(index.strays)

    def _annotated(self) -> Iterator[SourceImage | Reject]:
        index = self._index()
        for row, name in enumerate(index.names):
            try:
                uri = self._photo(name, field="file_name")
            except RowError as error:
                place = f"{self._path}: images entry {row + 1}"
                yield Reject(uri=place, reason=error.reason, detail=printable(str(error)))
                continue
            if row in index.undefined:
                yield Reject(
                    uri=printable(uri),
                    reason="unknown_category",
                    detail=f"{self._path}: annotations entry {index.undefined[row]} gives this "
                    "image a category_id that the file does not define",
                )
                continue
            here = slice(index.positives.offsets[row], index.positives.offsets[row + 1])
            unsure = slice(index.crowd.offsets[row], index.crowd.offsets[row + 1])
            annotation = index.classes.annotation(
                index.positives.label_ids[here].tolist(), index.crowd.label_ids[unsure].tolist()
            )
            yield SourceImage(uri=uri, annotation=annotation, split=self._split)
        for number in index.strays.tolist():
            yield Reject(
                uri=f"{self._path}: annotations entry {number}",
                reason="unknown_image",
                detail="its image_id is none of the file's images: mend or remove it",
            )

    def _own_notes(self) -> list[str]:
        return [self._cached.classes.note] if self._cached is not None else []

    def _index(self) -> _Index:
        if self._cached is None:
            with reading(self._path, "annotation file"):
                self._cached = _read(self._file, self._labels, self._crowd)
            names = (name for name in self._cached.names[:_PROBED] if isinstance(name, str))
            self._photos = photo_folder(self._path, self._candidates, names, given=self._given)
        return self._cached


def _children(folder: Path, file: Path) -> list[Path]:
    """Where photos of an annotation file are looked for in ``folder``."""
    subset = file.stem.rpartition("_")[2]
    return [folder / subset, folder / "images" / subset, folder / "images"]


def _read(path: Path, labels: LabelSet, crowd: Crowd) -> _Index:
    classes, label_of = _categories(path, labels)
    names: list[object] = []
    ids = array("q")
    for number, entry in _entries(path, "images"):
        ids.append(_whole(path, "images", number, entry, "id"))
        names.append(entry.get("file_name"))
    if not names:
        raise ManifestError(f"{path}: has no 'images': is this a COCO file of instances?")
    id_I = np.frombuffer(ids, dtype=np.int64)
    order_I = np.argsort(id_I, kind="stable")
    if (twice := np.flatnonzero(np.diff(id_I[order_I]) == 0)).size:
        raise ManifestError(
            f"{path}: image id {id_I[order_I[twice[0]]]} is there twice: remove one of the images"
        )
    image_A, label_A, crowd_A = _boxes(path, label_of)
    at_A = np.minimum(np.searchsorted(id_I, image_A, sorter=order_I), len(id_I) - 1)
    row_A = order_I[at_A]
    there_A = id_I[row_A] == image_A
    undefined_A = np.flatnonzero(there_A & (label_A == _UNDEFINED))
    unsure_A = (crowd_A != 0) & (crowd == "ignore")
    return _Index(
        classes=classes,
        names=names,
        positives=_ragged(row_A, label_A, there_A & ~unsure_A, len(names), len(labels)),
        crowd=_ragged(row_A, label_A, there_A & unsure_A, len(names), len(labels)),
        # The first of an image's faults is the last one written into the dict.
        undefined={int(row_A[i]): int(i) + 1 for i in undefined_A[::-1]},
        strays=np.flatnonzero(~there_A) + 1,
    )


def _ragged(
    row_A: NDArray[np.int64],
    label_A: NDArray[np.int32],
    keep_A: NDArray[np.bool_],
    images: int,
    labels: int,
) -> Ragged:
    keep_A = keep_A & (label_A >= 0)
    cells = np.unique(row_A[keep_A] * labels + label_A[keep_A])
    counts_I = np.bincount(cells // labels, minlength=images)
    return Ragged.build(counts_I, (cells % labels).astype(np.int32))


def _categories(path: Path, labels: LabelSet) -> tuple[ClassLabels, dict[int, int]]:
    names: dict[int, str] = {}
    for number, entry in _entries(path, "categories"):
        name = entry.get("name")
        category = _whole(path, "categories", number, entry, "id")
        if not isinstance(name, str) or not name.strip() or names.get(category, name) != name:
            raise ManifestError(
                f"{path}: categories entry {number} has the name {name!r:.60}: each id needs one"
            )
        names[category] = name
    if not names:
        raise ManifestError(f"{path}: has no 'categories': is this a COCO file of instances?")
    classes = ClassLabels(labels, names.values(), place=str(path))
    found = {category: classes.find(name) for category, name in names.items()}
    return classes, {c: _OUTSIDE if label is None else label for c, label in found.items()}


def _boxes(
    path: Path, label_of: dict[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int8]]:
    """Of every annotation: its image's id, its label (or why it has none), and ``iscrowd``."""
    images, labels, crowds = array("q"), array("i"), array("b")
    for number, entry in _entries(path, "annotations"):
        images.append(_whole(path, "annotations", number, entry, "image_id"))
        category = _whole(path, "annotations", number, entry, "category_id")
        labels.append(label_of.get(category, _UNDEFINED))
        crowds.append(bool(entry.get("iscrowd")))
    if not images:
        raise ManifestError(f"{path}: has no 'annotations': is this a COCO file of instances?")
    return (
        np.frombuffer(images, dtype=np.int64),
        np.frombuffer(labels, dtype=np.int32),
        np.frombuffer(crowds, dtype=np.int8),
    )


def _entries(path: Path, section: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered entries of a list at the top of the file, which is read to its very end."""
    with path.open("rb") as file:
        try:
            shallow = ShallowJson(file, str(path))
            found = ijson.items(shallow, f"{section}.item", use_float=True, buf_size=_BUFFER)
            for number, entry in enumerate(found, start=1):
                if not isinstance(entry, dict):
                    raise ManifestError(
                        f"{path}: {section} entry {number} is {entry!r:.60}: it must be an object"
                    )
                yield number, entry
        except ijson.JSONError as error:
            lines = str(error).splitlines()
            raise ManifestError(
                f"{path}: the JSON is cut off or broken before byte {file.tell():,} "
                f"({printable(lines[0]) if lines else 'no reason given'}): download it again"
            ) from None


def _whole(path: Path, section: str, number: int, entry: dict[str, Any], field: str) -> int:
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 2**63:
        raise ManifestError(
            f"{path}: {section} entry {number}: {field} is {value!r:.60}: it must be a whole number"
        )
    return value
