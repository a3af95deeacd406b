"""Tables 1 to 3 of arXiv:2312.04160, as data: their columns, settings and published figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from taistore.adapter.config import TrainConfig
from taistore.prompting.prompt_config import Method, PromptConfig
from taistore.reproduction.published_figures import (
    FEW_SHOTS,
    FEW_SHOTS_ELSEWHERE,
    FEW_SHOTS_REMARKS,
    PARTIAL_LABELS,
    PARTIAL_LABELS_ELSEWHERE,
    PARTIAL_LABELS_REMARKS,
    ZERO_SHOT_ELSEWHERE,
    ZERO_SHOT_FIGURES,
    ZERO_SHOT_REMARKS,
    Figures,
)

KNOWN = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SHOTS = (1, 2, 4, 8, 16)

PAPER = "paper"
DEFAULT = "default"
DEFAULT_TEXTS = "default-texts"
COOP: Method = "coop"
DUALCOOP: Method = "dualcoop"
TAI_DPT: Method = "tai-dpt"
T2I_PAL: Method = "t2i-pal"
DEFAULT_SYNTHETIC = "default-synthetic"
METHODS = {
    PAPER: "the paper's network and settings",
    DEFAULT: "taistore's defaults, whole ladder",
    DEFAULT_TEXTS: "the same, from texts alone",
    DEFAULT_SYNTHETIC: "taistore's defaults, with synthetic images",
    COOP: "CoOp, trained here",
    DUALCOOP: "DualCoOp, trained here",
    TAI_DPT: "TaI-DPT, trained here",
    T2I_PAL: "T2I-PAL, trained here",
}
"""Ways to train; ``paper`` is read at the step ``adapter_logits``, the others at the top.

``default`` is what ``taistore train`` does for the table's task; without a label to read, that goes
by the unlabelled photos of the store, which ``default-texts`` does not look at.
``default-synthetic`` learns from synthetic images beside the texts. Prompt learners are trained
with what their authors published.
"""

ZERO_SHOT = "zero_shot"

INTEGRATED = "paper-integrated"
"""The method ``paper``, averaged with another system's scores as in supplementary 8."""

DPT_INTEGRATED = "tai-dpt-integrated"
"""TaI-DPT, averaged with another system's scores as its authors do, both scaled to [0, 1]."""

T2I_INTEGRATED = "t2i-pal-integrated"
"""The same of T2I-PAL, whose paper does not say how it averages."""

AVERAGED = {TAI_DPT: DPT_INTEGRATED, T2I_PAL: T2I_INTEGRATED}
"""Learners that are averaged so, by what the average is called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a table: its heading and the settings of the training behind it."""

    heading: str
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table of the paper.

    ``published`` are the paper's figures, ``elsewhere`` those of other papers, and ``remarks`` what
    is to be known of both. ``beside`` says which published method stands beside each of ours,
    ``deviations`` in what ours must differ whatever the data, texts and settings. ``encoder`` is
    the default. ``test_only``: no training images are needed. ``methods`` are the ways to train
    that are run unless others are named; ``learners`` are prompt learners that it has too.
    ``integrated`` is the system with whose scores the paper's figures are averaged, if any,
    ``other`` its method here and ``share`` its part of the average with TaI-DPT. ``average`` heads
    a last column with the mean of the others, where the paper has one. ``with_images``: it learns
    from synthetic images.
    """

    name: str
    title: str
    task: str
    encoder: str
    sets: tuple[str, ...]
    columns: tuple[Column, ...]
    published: Figures
    elsewhere: Figures
    remarks: tuple[str, ...]
    beside: Mapping[str, str]
    deviations: tuple[str, ...]
    test_only: bool = False
    methods: tuple[str, ...] = (PAPER, DEFAULT)
    learners: tuple[Method, ...] = (TAI_DPT,)
    integrated: str = ""
    other: Method | None = None
    share: float = 0.0
    average: str = ""
    with_images: bool = False

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
        if method == DEFAULT_SYNTHETIC:
            settings["learn_from"] = "texts+synthetic"
        return TrainConfig.of(**settings)

    def learner_config(
        self, method: Method, column: Column, *, seed: int, split: str | None, like: str | None
    ) -> PromptConfig:
        """The training of a prompt learner for a cell, as its authors had it.

        TaI-DPT and T2I-PAL are the same in every column. ``like`` is the set of the paper that the
        photos are of: TaI-DPT's rate and sharpness for NUS-WIDE are its own.
        """
        if method == TAI_DPT:
            own = {"lr": 1e-3, "spatial_test": 4.0} if like == "nuswide" else {}
            return PromptConfig.of(method, seed=seed, **own)
        if method == T2I_PAL:
            return PromptConfig.of(method, seed=seed)
        drawn = "mask_seed" if "known" in column.settings else "shot_seed"
        return PromptConfig.of(
            method,
            task=self.task,
            seed=seed,
            **{drawn: seed, **column.settings},
            **({} if split is None else {"split": split}),
        )


TIES = "equal scores share a rank here; the code of earlier papers breaks ties by position"

_INTEGRATED_BESIDE = {
    PAPER: "TaI-Adapter*",
    INTEGRATED: "TaI-Adapter*",
    DPT_INTEGRATED: "TaI-DPT*",
}

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
            published=PARTIAL_LABELS,
            elsewhere=PARTIAL_LABELS_ELSEWHERE,
            remarks=PARTIAL_LABELS_REMARKS,
            beside=_INTEGRATED_BESIDE | {DUALCOOP: "DualCoOp"},
            deviations=(
                "which labels are known is drawn by the seed; the paper's masks are not public",
                TIES,
            ),
            learners=(DUALCOOP, TAI_DPT),
            integrated="DualCoOp",
            other=DUALCOOP,
            share=0.9,
            average="Avg.",
        ),
        Table(
            name="table2",
            title="Table 2, zero-shot: mAP without any image for training",
            task="zsl",
            encoder="open_clip:RN50/openai@224",
            sets=("voc2007", "coco2014", "nuswide"),
            columns=(Column(heading="mAP", settings={}),),
            published=ZERO_SHOT_FIGURES,
            elsewhere=ZERO_SHOT_ELSEWHERE,
            remarks=ZERO_SHOT_REMARKS,
            beside={ZERO_SHOT: "CLIP", PAPER: "TaI-Adapter", TAI_DPT: "TaI-DPT"},
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
            published=FEW_SHOTS,
            elsewhere=FEW_SHOTS_ELSEWHERE,
            remarks=FEW_SHOTS_REMARKS,
            beside=_INTEGRATED_BESIDE | {COOP: "CoOp"},
            deviations=(
                "which images are the shots is drawn by the seed; the paper's are not public",
                TIES,
            ),
            learners=(COOP, TAI_DPT),
            integrated="CoOp",
            other=COOP,
            share=0.6,
        ),
    )
}
"""The tables by name."""
