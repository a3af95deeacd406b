"""Pascal VOC as a source: a folder of XML annotations, its photos and its lists of splits."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from taistore.errors import ImageError, ManifestError
from taistore.images.sources.listing import photo_folder, reading
from taistore.images.sources.published.annotated_source import AnnotatedSource, ClassLabels
from taistore.images.sources.published.voc_xml import VocAnnotation, read_voc
from taistore.images.sources.row_labels import RowError
from taistore.images.sources.source import Annotation, SourceImage
from taistore.labels import LabelSet
from taistore.printable import printable
from taistore.store.rejects import Reject

Difficult = Literal["ignore", "negative", "positive"]

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
"""The classes of the challenge, which its annotators looked for in every image."""

_SPLITS = ("train", "val", "test", "trainval")
"""Lists that give an image its split, the first that has it."""

_SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


class VocSource(AnnotatedSource):
    """Images of a folder ``VOCdevkit/VOC2007`` or of its ``Annotations``.

    A class without an object in an image is absent there. The classes are those of the lists
    ``ImageSets/Main/<class>_<split>.txt``; without such lists the challenge's twenty if no other
    class occurs, else the classes that occur. ``difficult`` says what a label becomes that only
    difficult objects show: "ignore" makes it unknown, as the challenge leaves it out, "negative"
    absent, "positive" present. ``split`` takes the images of ``ImageSets/Main/<split>.txt`` alone;
    without it an image has the split of the list train, val, test or trainval that names it. Where
    there are no lists, ``split`` is every image's. ``photos`` is their folder, by default
    ``JPEGImages``. Raises :class:`ImageError` where the folder is no such data set.
    """

    def __init__(
        self,
        path: str | Path,
        labels: LabelSet,
        *,
        photos: str | Path | None = None,
        difficult: Difficult = "ignore",
        split: str | None = None,
    ) -> None:
        self._xml = _annotations(Path(os.path.realpath(path)))
        self._lists = self._xml.parent / "ImageSets" / "Main"
        self._labels = labels
        self._difficult = difficult
        self._split = split
        self._listed = split is not None and self._has_lists()
        self._classes: ClassLabels | None = None
        beside = self._xml.parent / "JPEGImages"
        folder = photo_folder(
            str(self._xml),
            [beside, self._xml.parent / "images"] if photos is None else [Path(photos)],
            (),
            given=photos is not None,
        )
        super().__init__(str(self._xml), photos=folder, whole_folder=not self._listed)

    def count(self) -> int | None:
        """Number of annotated or listed images."""
        with reading(self._path, "annotation folder"):
            return len(self._splits())

    def _annotated(self) -> Iterator[SourceImage | Reject]:
        splits = self._splits()
        if self._classes is None:
            self._classes = ClassLabels(self._labels, self._class_names(), place=self._path)
        for name, split in splits.items():
            xml = self._xml / f"{name}.xml"
            found, fault = None, None
            try:
                found = read_voc(xml)
            except FileNotFoundError:
                pass
            except RowError as error:
                fault = Reject(
                    uri=printable(str(xml)), reason=error.reason, detail=printable(str(error))
                )
            except OSError as error:
                fault = Reject(
                    uri=printable(str(xml)),
                    reason="unreadable",
                    detail=f"cannot be read: {error.strerror}",
                )
            # A photo whose annotation is broken is set aside with it.
            uri = self._find_photo(name, found)
            known = None if found is None else self._annotation(found, self._classes)
            yield fault or SourceImage(uri=uri, annotation=known, split=split)

    def _own_notes(self) -> list[str]:
        return [self._classes.note] if self._classes is not None else []

    def _annotation(self, found: VocAnnotation, classes: ClassLabels) -> Annotation:
        sure: list[int] = []
        unsure: list[int] = []
        for item in found.objects:
            label = classes.find(item.name)
            if label is None:
                continue
            if not item.difficult or self._difficult == "positive":
                sure.append(label)
            elif self._difficult == "ignore":
                unsure.append(label)
        return classes.annotation(sure, unsure)

    def _find_photo(self, name: str, found: VocAnnotation | None) -> str:
        named = Path(found.filename.replace("\\", "/")).name if found is not None else ""
        names = [f"{name}{suffix}" for suffix in _SUFFIXES]
        if named:
            names.insert(1, named)
        there = (n for n in names if (Path(self._photos) / n).is_file())
        return self._photo(next(there, names[0]), field="image")

    def _has_lists(self) -> bool:
        return self._lists.is_dir() and any(self._lists.glob("*.txt"))

    def _splits(self) -> dict[str, str | None]:
        """The split of every image by name, in order."""
        if self._split is not None and self._listed:
            return dict.fromkeys(self._list(self._split), self._split)
        splits: dict[str, str | None] = {}
        if self._split is None:
            for split in reversed(_SPLITS):
                if (self._lists / f"{split}.txt").is_file():
                    splits.update(dict.fromkeys(self._list(split), split))
        names = {path.stem for path in self._xml.glob("*.xml")}
        return {name: splits.get(name, self._split) for name in sorted(names | set(splits))}

    def _list(self, split: str) -> list[str]:
        path = self._lists / f"{split}.txt"
        # A split is a file's name: it must not lead out of the folder.
        if Path(split).name != split or not path.is_file():
            there = sorted(p.stem for p in self._lists.glob("*.txt") if "_" not in p.stem)
            raise ManifestError(
                f"{self._lists}: has no list {split!r:.60}: use split= with one of "
                f"{', '.join(there)}"
            )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return [line.split()[0] for line in lines if line.strip()]

    def _class_names(self) -> list[str]:
        lists = {
            path.stem.rpartition("_")[0]
            for split in _SPLITS
            for path in self._lists.glob(f"*_{split}.txt")
        }
        if lists:
            return sorted(lists)
        # Only the names are kept, so the files are read twice rather than held.
        seen: set[str] = set()
        for path in sorted(self._xml.glob("*.xml")):
            try:
                seen.update(item.name for item in read_voc(path).objects)
            except (RowError, OSError):
                continue
        return list(VOC_CLASSES) if seen <= set(VOC_CLASSES) else sorted(seen)


def _annotations(path: Path) -> Path:
    """The folder of XML files at or below ``path``."""
    found = [path / "Annotations"] if (path / "Annotations").is_dir() else []
    if not found:
        found = [p for p in sorted(path.glob("VOC*/Annotations")) if p.is_dir()]
    if not found and path.is_dir() and any(path.glob("*.xml")):
        found = [path]
    if not found:
        raise ImageError(
            f"{path}: no folder 'Annotations' with .xml files here: name a folder like "
            "VOCdevkit/VOC2007",
            reason="missing",
        )
    if len(found) > 1:
        names = ", ".join(folder.parent.name for folder in found)
        raise ImageError(
            f"{path}: holds several data sets ({names}): name one of them", reason="unreadable"
        )
    if not any(found[0].glob("*.xml")):
        raise ImageError(f"{found[0]}: holds no .xml files: check the path", reason="no_images")
    return found[0]
