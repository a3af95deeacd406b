"""Data sets in the user's folder: where each may lie, in which layout, and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taistore.evaluation.protocols import PROTOCOLS, Protocol
from taistore.label_files.label_file import read_labels
from taistore.labels import Label, LabelSet

MANIFEST = "labels.jsonl"
CLASSES = "classes.csv"
OWN_FORM = f"{MANIFEST} and {CLASSES} (key,name), its photos where {MANIFEST} says"


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """Images to ingest: a path below the set's folder, how to read it, and their split."""

    path: str
    split: str | None
    training: bool
    options: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a published set lies on disk.

    ``folders`` are where in the user's folder it may be; ``needs`` are paths below it by which it
    is recognised, for testing and for training. ``instruction`` says how to get it there.
    """

    folders: tuple[str, ...]
    needs: tuple[str, ...]
    needs_for_training: tuple[str, ...]
    parts: tuple[Part, ...]
    instruction: str


LAYOUTS: Mapping[str, Layout] = {
    "voc2007": Layout(
        folders=("VOCdevkit/VOC2007", "voc2007/VOCdevkit/VOC2007", "voc2007/VOC2007", "voc2007"),
        needs=("Annotations", "JPEGImages", "ImageSets/Main/test.txt"),
        needs_for_training=("ImageSets/Main/trainval.txt",),
        parts=(
            Part(path=".", split="trainval", training=True, options={"difficult": "negative"}),
            Part(path=".", split="test", training=False, options={"difficult": "negative"}),
        ),
        instruction="unpack VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar there, which "
        "makes VOCdevkit/VOC2007",
    ),
    "coco2014": Layout(
        folders=("coco2014", "COCO", "coco"),
        needs=("annotations/instances_val2014.json", "val2014"),
        needs_for_training=("annotations/instances_train2014.json", "train2014"),
        parts=(
            Part(
                path="annotations/instances_train2014.json",
                split="train",
                training=True,
                options={"crowd": "positive"},
            ),
            Part(
                path="annotations/instances_val2014.json",
                split="val",
                training=False,
                options={"crowd": "positive"},
            ),
        ),
        instruction="unpack annotations_trainval2014.zip, train2014.zip and val2014.zip into "
        "coco2014",
    ),
    "nuswide": Layout(
        folders=("nuswide", "NUS-WIDE", "NUSWIDE"),
        needs=("ImageList/TestImagelist.txt", "Groundtruth/TrainTestLabels"),
        needs_for_training=("ImageList/TrainImagelist.txt",),
        parts=(
            Part(path=".", split="train", training=True, options={}),
            Part(path=".", split="test", training=False, options={}),
        ),
        instruction="put ImageList, Groundtruth (with TrainTestLabels) and the photos as Flickr "
        "into nuswide",
    ),
}
"""Published sets by the name of their protocol."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundSet:
    """A set that is there. ``protocol`` is None of the user's own form."""

    name: str
    folder: Path
    labels: LabelSet
    parts: tuple[Part, ...]
    protocol: Protocol | None

    @property
    def column(self) -> str | None:
        """The published set whose figures stand beside it: its own, or the one with its labels."""
        if self.protocol is not None:
            return self.protocol.name
        for protocol in PROTOCOLS.values():
            if protocol.labels is None or len(protocol.labels) != len(self.labels):
                continue
            if not protocol.missing_labels(self.labels):
                return protocol.name
        return None


@dataclass(frozen=True, slots=True)
class MissingSet:
    """A set that cannot be used: its name, and one line saying what to put where."""

    name: str
    line: str


def find_set(data: Path, name: str, *, training: bool) -> FoundSet | MissingSet:
    """The set ``name`` in the folder ``data``, with training images where they are needed.

    A published set is looked for in its published layout first; any set may lie in our own form
    at ``data/name``. Raises :class:`LabelError` where its label file is not usable.
    """
    own = data / name
    layout = LAYOUTS.get(name)
    if layout is not None:
        needs = layout.needs + (layout.needs_for_training if training else ())
        there = [data / folder for folder in layout.folders if (data / folder).is_dir()]
        for folder in there:
            if all((folder / need).exists() for need in needs):
                return _published(name, folder, layout, training=training)
    if (own / MANIFEST).is_file() and (own / CLASSES).is_file():
        return FoundSet(
            name=name,
            folder=own,
            labels=read_labels(own / CLASSES),
            parts=(Part(path=MANIFEST, split=None, training=True, options={}),),
            protocol=None,
        )
    return MissingSet(name, _missing(data, name, training=training))


def own_form_sets(data: Path) -> list[str]:
    """Names of the sets in our own form below ``data``."""
    return sorted(path.parent.name for path in data.glob(f"*/{MANIFEST}") if path.is_file())


def _published(name: str, folder: Path, layout: Layout, *, training: bool) -> FoundSet:
    protocol = PROTOCOLS[name]
    return FoundSet(
        name=name,
        folder=folder,
        labels=protocol_labels(protocol.labels or ()),
        parts=tuple(part for part in layout.parts if training or not part.training),
        protocol=protocol,
    )


def protocol_labels(spellings: Sequence[str]) -> LabelSet:
    """Labels of a protocol: the key is the first spelling, the name that with its words apart.

    >>> [label.name for label in protocol_labels(["diningtable|dining table|table", "sofa|couch"])]
    ['dining table', 'sofa']
    """
    labels = []
    for text in spellings:
        key, *others = text.split("|")
        apart = [name for name in others if name.replace(" ", "") == key]
        labels.append(Label(key, apart[0] if apart else key))
    return LabelSet(labels)


def _missing(data: Path, name: str, *, training: bool) -> str:
    own = f"{data / name}/{OWN_FORM}"
    layout = LAYOUTS.get(name)
    if layout is None:
        there = ", ".join(own_form_sets(data)) or "none"
        return f"{name}: not below {data} (sets there: {there}): put it at {own}"
    needs = layout.needs + (layout.needs_for_training if training else ())
    for folder in layout.folders:
        lacking = [need for need in needs if not (data / folder / need).exists()]
        if 0 < len(lacking) < len(needs):
            return f"{name}: {data / folder} has no {lacking[0]}: {layout.instruction}"
    return (
        f"{name}: not below {data}: {layout.instruction} ({data / layout.folders[0]}), or put your "
        f"own photos at {own}"
    )
