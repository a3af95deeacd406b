"""Evaluation protocols of published figures, as data: what is evaluated, and what that compares to.

How an annotation was read (a difficult object, a crowd) is decided when images are ingested and
cannot be told from the store afterwards. A protocol therefore checks what the store can tell: its
labels, its splits, how many images there are and whether a cell is unknown.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.errors import LabelError, ScoringError
from taistore.evaluation.labelled_scores import Scope
from taistore.labels import LabelSet
from taistore.scoring.known_cells import KNOWN_COLUMNS
from taistore.scoring.labelled_images import splits_with_labels
from taistore.store.store import Store

PRECISION = (
    "non-interpolated: the mean, over a label's positives, of the precision at each one's rank "
    "among all images; not the 11 points of the VOC2007 development kit. Ties are charged together"
)
"""What every protocol here, TaI-DPT and DualCoOp compute (their code breaks ties by position)."""

TAI_DPT = "TaI-DPT (arXiv:2211.12739)"
DUALCOOP = "DualCoOp (arXiv:2206.09541)"
TAI_ADAPTER = "TaI-Adapter (arXiv:2312.04160)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """How published figures of one data set are taken.

    ``splits`` are the names that a store may give those images; the first that has labelled ones
    is evaluated. ``labels`` are the labels evaluated, each with the spellings it may have (None:
    all of the store); a store with more labels scores all of them, but only these are counted.
    With ``unknown_refused`` every one of these labels must be known of every image; else unknown
    cells count neither as right nor as wrong. With ``needs_negatives`` a label also needs an image
    that is known not to show it. With ``only_with_positives`` images that show no label are left
    out. ``images`` is how many there are in the original. The other fields are for people.
    """

    name: str
    title: str
    splits: tuple[str, ...]
    images: int
    labels: tuple[str, ...] | None
    unknown_refused: bool
    needs_negatives: bool
    only_with_positives: bool
    annotations: str
    comparable: str
    differs: str
    precision: str = PRECISION

    def to_json(self) -> dict[str, Any]:
        """Plain values: the definition, as ``evaluate --json`` gives it."""
        return {
            "name": self.name,
            "title": self.title,
            "images": self.images,
            "labels": None if self.labels is None else len(self.labels),
            "unknown": "refused" if self.unknown_refused else "ignored",
            "labels_need_negatives": self.needs_negatives,
            "images_without_labels": "left out" if self.only_with_positives else "kept",
            "annotations": self.annotations,
            "average_precision": self.precision,
            "comparable": self.comparable,
            "differs": self.differs,
        }

    def text(self) -> str:
        """The definition for people."""
        labels = "all" if self.labels is None else f"{len(self.labels)}"
        lines = [
            f"protocol {self.name}: {self.title}, {self.images:,} images, {labels} labels",
            f"  annotations: {self.annotations}",
            f"  AP: {self.precision}",
            f"  comparable with: {self.comparable}",
            f"  not comparable with: {self.differs}",
        ]
        return "\n".join(lines)

    def scope(self, store: Store, split: str | None = None) -> Scope:
        """The images and labels of ``store`` that it is about; ScoringError where they do not fit.

        ``split`` may name one of :attr:`splits`.
        """
        label_ids = None if self.labels is None else self._label_ids(store.labels, store.uri)
        scope = Scope(
            split=self._split(store, split),
            label_ids=label_ids,
            only_with_positives=self.only_with_positives,
        )
        if self.unknown_refused:
            self._require_known(store, scope)
        return scope

    def warnings(self, images: int) -> tuple[str, ...]:
        """What keeps figures over so many images from being the published ones."""
        if images == self.images:
            return ()
        return (
            f"protocol {self.name} has {self.images:,} images, here are {images:,}: these figures "
            "do not compare with published ones",
        )

    def _split(self, store: Store, split: str | None) -> str:
        if split is not None and split not in self.splits:
            raise ScoringError(
                f"protocol {self.name} evaluates the split {' or '.join(self.splits)}, not "
                f"{split!r}: leave out split=, or protocol="
            )
        _, labelled = splits_with_labels(store)
        for name in self.splits if split is None else (split,):
            if labelled[name]:
                return name
        there = ", ".join(map(repr, sorted(+labelled))) or "none"
        raise ScoringError(
            f"{store.uri}: protocol {self.name} needs labelled images of split "
            f"{' or '.join(map(repr, self.splits))} (there are: {there}): ingest them with "
            f"'taistore ingest-images --split {self.splits[0]}'"
        )

    def missing_labels(self, labels: LabelSet) -> list[str]:
        """Its labels that a label set has under no spelling."""
        return [
            spellings.partition("|")[0]
            for spellings in self.labels or ()
            if _find(labels, spellings.split("|")) is None
        ]

    def _label_ids(self, labels: LabelSet, uri: str) -> NDArray[np.int64]:
        missing = self.missing_labels(labels)
        if missing:
            more = ", …" if len(missing) > 5 else ""
            raise ScoringError(
                f"{uri}: protocol {self.name} needs {len(missing)} labels that this store has not "
                f"({', '.join(missing[:5])}{more}): make a store for its {len(self.labels or ())} "
                "labels, or leave out protocol="
            )
        found = [_find(labels, spellings.split("|")) or 0 for spellings in self.labels or ()]
        twice = [label_id for label_id, count in Counter(found).items() if count > 1]
        if twice:
            raise ScoringError(
                f"{uri}: label {labels[twice[0]].name!r} stands for two labels of protocol "
                f"{self.name}: give each a label of its own"
            )
        return np.array(found, np.int64)

    def _require_known(self, store: Store, scope: Scope) -> None:
        unknown = images = 0
        for rows in store.scan("images", columns=KNOWN_COLUMNS, where={"split": scope.split}):
            cells_B = (scope.truth(rows, len(store.labels)) < 0).sum(axis=1)
            unknown += int(cells_B.sum())
            images += int((cells_B > 0).sum())
        if unknown:
            raise ScoringError(
                f"{store.uri}: protocol {self.name} has no unknown labels, but {unknown:,} cells "
                f"of {images:,} images of split {scope.split!r} are unknown: ingest them with "
                f"complete labels ({self.annotations}), or leave out protocol="
            )


def _find(labels: LabelSet, spellings: Sequence[str]) -> int | None:
    for spelling in spellings:
        try:
            return labels.find(spelling)
        except LabelError:
            continue
    return None


VOC_LABELS = (
    "aeroplane|airplane,bicycle,bird,boat,bottle,bus,car,cat,chair,cow,"
    "diningtable|dining table|table,dog,horse,motorbike|motorcycle,person,"
    "pottedplant|potted plant,sheep,sofa|couch,train,tvmonitor|tv monitor|tv/monitor|tv"
)
COCO_LABELS = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,"
    "stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,"
    "backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,"
    "baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,"
    "bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,"
    "potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,"
    "oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier|hair dryer,"
    "toothbrush"
)
NUSWIDE_LABELS = (
    "airport,animal,beach,bear,birds|bird,boats|boat,book,bridge,buildings|building,cars|car,"
    "castle,cat,cityscape,clouds|cloud,computer,coral,cow,dancing,dog,earthquake,elk,fire,fish,"
    "flags|flag,flowers|flower,food,fox,frost,garden,glacier,grass,harbor,horses|horse,house,lake,"
    "leaf,map,military,moon,mountain,nighttime,ocean,person,plane,plants|plant,police,protest,"
    "railroad,rainbow,reflection,road,rocks|rock,running,sand,sign,sky,snow,soccer,sports|sport,"
    "statue,street,sun,sunset,surf,swimmers|swimmer,tattoo,temple,tiger,tower,town,toy,train,tree,"
    "valley,vehicle,water,waterfall,wedding,whales|whale,window,zebra"
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="voc2007",
            title="Pascal VOC 2007 test",
            splits=("test",),
            images=4952,
            labels=tuple(VOC_LABELS.split(",")),
            unknown_refused=True,
            needs_negatives=False,
            only_with_positives=False,
            annotations="a label that only difficult objects show is absent (difficult=negative)",
            comparable=f"{TAI_ADAPTER}, {TAI_DPT}, {DUALCOOP}: the code of the latter two counts "
            "difficult objects as absent; the first does not say, but compares itself with them",
            differs="papers that leave difficult objects out (ML-GCN and its successors, the VOC "
            "development kit) or use 11-point AP",
        ),
        Protocol(
            name="coco2014",
            title="MS-COCO val2014, images with a box",
            splits=("test", "val", "val2014"),
            images=40_137,
            labels=tuple(COCO_LABELS.split(",")),
            unknown_refused=True,
            needs_negatives=False,
            only_with_positives=True,
            annotations="every box counts, crowds too (crowd=positive)",
            comparable=f"{TAI_ADAPTER}, {DUALCOOP}, SARB: 40,137 images that have a box",
            differs=f"{TAI_DPT}, whose zero-shot figures are over all 40,504 images of val2014, "
            "and COCO 2017 figures",
        ),
        Protocol(
            name="nuswide",
            title="NUS-WIDE, the official test list",
            splits=("test",),
            images=107_859,
            labels=tuple(NUSWIDE_LABELS.split(",")),
            unknown_refused=True,
            needs_negatives=False,
            only_with_positives=False,
            annotations="81 concepts of TrainTestLabels; images that show none are kept",
            comparable=f"{TAI_ADAPTER}, {TAI_DPT}: 107,859 images of TestImagelist.txt",
            differs="papers that drop images without a concept, or use the 60,260 or 55,615 image "
            "lists, or the 1,006 tags of zero-shot work",
        ),
        Protocol(
            name="openimages",
            title="OpenImages image-level labels, test",
            splits=("test",),
            images=125_436,
            labels=None,
            unknown_refused=False,
            needs_negatives=True,
            only_with_positives=False,
            annotations="only human-verified cells count, positive or negative; a label needs one "
            "of each",
            comparable="figures over verified cells of the same labels; no paper named here "
            "gives any",
            differs="papers that take unverified cells as absent",
        ),
    )
}
"""All protocols by name."""
