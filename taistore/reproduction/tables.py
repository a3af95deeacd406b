"""Tables 1 to 3 of arXiv:2312.04160, as data: their columns, settings and published figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from taistore.adapter.config import TrainConfig

KNOWN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SHOTS = (1, 2, 4, 8, 16)

PAPER = "paper"
DEFAULT = "default"
DEFAULT_TEXTS = "default-texts"
METHODS = {
    PAPER: "the paper's network and settings",
    DEFAULT: "taistore's defaults, whole ladder",
    DEFAULT_TEXTS: "the same, from texts alone",
}
"""Ways to train; ``paper`` is read at the step ``adapter_logits``, the others at the top.

``default`` is what ``taistore train`` does for the table's task; without a label to read, that goes
by the unlabelled photos of the store, which ``default-texts`` does not look at.
"""

ZERO_SHOT = "zero_shot"

INTEGRATED = "paper-integrated"
"""The method ``paper``, averaged with another system's scores as in supplementary 8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a table: its heading and the settings of the training behind it."""

    heading: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table of the paper.

    ``published`` holds mAP in percent by set and by the paper's name of a method, a value a
    column. ``beside`` says which published method stands beside each of ours, ``deviations`` in
    what ours must differ whatever the data, texts and settings. ``encoder`` is the default.
    ``test_only``: no training images are needed. ``methods`` are the ways to train that it has.
    ``integrated`` is the system with whose scores the paper's figures are averaged, if any.
    """

    name: str
    title: str
    task: str
    encoder: str
    sets: tuple[str, ...]
    columns: tuple[Column, ...]
    published: Mapping[str, Mapping[str, tuple[float, ...]]]
    beside: Mapping[str, str]
    deviations: tuple[str, ...]
    test_only: bool = False
    methods: tuple[str, ...] = (PAPER, DEFAULT)
    integrated: str = ""

    def config(
        self,
        method: str,
        column: Column,
        *,
        seed: int,
        split: str | None,
        device: str,
        changes: Mapping[str, Any] = MappingProxyType({}),
    ) -> TrainConfig:
        """The training of a cell; what is drawn of labels or images is drawn by ``seed`` too.

        ``changes`` are settings that take the place of the paper's, in its method alone. Raises
        :class:`TrainingError` where one is not allowed.
        """
        settings = {**column.settings, "task": self.task, "seed": seed, "device": device}
        if split is not None:
            settings["split"] = split
        if "known" in settings:
            settings["mask_seed"] = seed
        if "shots" in settings:
            settings["shot_seed"] = seed
        if method == PAPER:
            return TrainConfig.paper(**settings, **changes)
        if method == DEFAULT_TEXTS:
            settings["shift"] = "none"
        return TrainConfig.of(**settings)


TIES = "equal scores share a rank here; the code of earlier papers breaks ties by position"

TABLES = {
    table.name: table
    for table in (
        Table(
            name="table1",
            title="Table 1, partial labels: mAP at each known part of the training labels",
            task="pll",
            encoder="open_clip:RN50/openai@448",
            sets=("voc2007", "coco2014", "nuswide"),
            columns=tuple(
                Column(heading=f"{round(100 * known)}%", settings={"known": known})
                for known in KNOWN
            ),
            published={
                "voc2007": {
                    "TaI-DPT*": (93.3, 94.6, 94.8, 94.9, 95.1, 95.0, 95.1, 95.3, 95.5),
                    "TaI-Adapter*": (93.8, 94.7, 95.1, 95.2, 95.3, 95.3, 95.4, 95.6, 95.7),
                },
                "coco2014": {
                    "TaI-DPT*": (81.5, 82.6, 83.3, 83.7, 83.9, 84.0, 84.2, 84.4, 84.5),
                    "TaI-Adapter*": (82.1, 82.9, 83.5, 84.0, 84.4, 84.7, 84.9, 85.1, 85.1),
                },
                "nuswide": {
                    "TaI-DPT*": (56.4, 57.9, 57.8, 58.1, 58.5, 58.8, 58.6, 59.1, 59.4),
                    "TaI-Adapter*": (59.5, 61.9, 62.8, 63.2, 63.2, 63.1, 63.5, 64.2, 65.0),
                },
            },
            beside={PAPER: "TaI-Adapter*", INTEGRATED: "TaI-Adapter*"},
            deviations=(
                "which labels are known is drawn by the seed; the paper's masks are not public",
                TIES,
            ),
            integrated="DualCoOp",
        ),
        Table(
            name="table2",
            title="Table 2, zero-shot: mAP without any image for training",
            task="zsl",
            encoder="open_clip:RN50/openai@224",
            sets=("voc2007", "coco2014", "nuswide"),
            columns=(Column(heading="mAP", settings={}),),
            published={
                "voc2007": {"CLIP": (77.3,), "TaI-DPT": (88.3,), "TaI-Adapter": (89.0,)},
                "coco2014": {"CLIP": (49.7,), "TaI-DPT": (65.1,), "TaI-Adapter": (67.7,)},
                "nuswide": {"CLIP": (37.4,), "TaI-DPT": (46.5,), "TaI-Adapter": (53.3,)},
            },
            beside={ZERO_SHOT: "CLIP", PAPER: "TaI-Adapter"},
            deviations=(
                "zero-shot prompts are taistore's own set; the paper does not name its",
                TIES,
            ),
            test_only=True,
            methods=(PAPER, DEFAULT, DEFAULT_TEXTS),
        ),
        Table(
            name="table3",
            title="Table 3, few shots: mAP with so many labelled images per label",
            task="fsl",
            encoder="open_clip:RN50/openai@224",
            sets=("voc2007", "coco2014"),
            columns=tuple(
                Column(heading=f"{shots}-shot", settings={"shots": shots}) for shots in SHOTS
            ),
            published={
                "voc2007": {
                    "CoOp": (79.3, 83.2, 83.8, 84.5, 85.7),
                    "TaI-DPT*": (89.7, 91.1, 91.2, 92.4, 93.1),
                    "TaI-Adapter*": (90.0, 91.5, 92.2, 93.5, 93.9),
                },
                "coco2014": {
                    "CoOp": (52.6, 57.3, 58.1, 59.2, 59.8),
                    "TaI-DPT*": (70.0, 70.1, 70.8, 71.2, 71.8),
                    "TaI-Adapter*": (70.5, 70.7, 71.4, 72.0, 72.7),
                },
            },
            beside={PAPER: "TaI-Adapter*", INTEGRATED: "TaI-Adapter*"},
            deviations=(
                "which images are the shots is drawn by the seed; the paper's are not public",
                TIES,
            ),
            integrated="CoOp",
        ),
    )
}
"""The tables by name."""
