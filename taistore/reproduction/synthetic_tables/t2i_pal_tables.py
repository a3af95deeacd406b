"""Tables 1, 2 and 4 of T2I-PAL, as data: their columns, settings and published figures."""

from taistore.reproduction.published_figures import Figures
from taistore.reproduction.tables import (
    COOP,
    DEFAULT_SYNTHETIC,
    DEFAULT_TEXTS,
    DPT_INTEGRATED,
    DUALCOOP,
    KNOWN,
    SHOTS,
    T2I_INTEGRATED,
    T2I_PAL,
    TAI_DPT,
    TIES,
    ZERO_SHOT,
    Column,
    Table,
)

NAME = "t2i-pal"

_ENCODER = "open_clip:RN101/openai@224"

_ZERO_SHOT: Figures = {
    "voc2007": {"CLIP": (76.2,), "TaI-DPT": (88.3,), "T2I-PAL": (91.5,)},
    "coco2014": {"CLIP": (47.3,), "TaI-DPT": (65.1,), "T2I-PAL": (71.4,)},
    "nuswide": {"CLIP": (36.4,), "TaI-DPT": (46.5,), "T2I-PAL": (47.4,)},
}

_PARTIAL_LABELS: Figures = {
    "voc2007": {
        "SARB": (83.5, 88.6, 90.7, 91.4, 91.9, 92.2, 92.6, 92.8, 92.9),
        "DualCoOp": (90.3, 92.2, 92.8, 93.3, 93.6, 93.9, 94.0, 94.1, 94.2),
        "TaI-DPT*": (93.3, 94.6, 94.8, 94.9, 95.1, 95.0, 95.1, 95.3, 95.5),
        "T2I-PAL*": (93.7, 94.8, 94.8, 94.9, 94.9, 95.2, 95.5, 95.5, 95.5),
    },
    "coco2014": {
        "SARB": (71.2, 75.0, 77.1, 78.3, 78.9, 79.6, 79.8, 80.5, 80.5),
        "DualCoOp": (78.7, 80.9, 81.7, 82.0, 82.5, 82.7, 82.8, 83.0, 83.1),
        "TaI-DPT*": (81.5, 82.6, 83.3, 83.7, 83.9, 84.0, 84.2, 84.4, 84.5),
        "T2I-PAL*": (82.7, 83.0, 84.5, 84.6, 84.8, 85.0, 85.6, 85.8, 85.9),
    },
    "nuswide": {
        "DualCoOp": (54.0, 56.2, 56.9, 57.4, 57.9, 57.9, 57.6, 58.2, 58.8),
        "TaI-DPT*": (56.4, 57.9, 57.8, 58.1, 58.5, 58.8, 58.6, 59.1, 59.4),
        "T2I-PAL*": (56.7, 57.9, 57.9, 58.3, 58.7, 59.2, 59.3, 59.3, 59.3),
    },
}

_FEW_SHOTS: Figures = {
    "voc2007": {
        "CoOp": (79.3, 83.2, 83.8, 84.5, 85.7),
        "TaI-DPT*": (88.6, 89.2, 89.1, 89.5, 90.1),
        "T2I-PAL*": (91.7, 92.1, 92.2, 92.3, 92.9),
    },
    "coco2014": {
        "CoOp": (52.6, 57.3, 58.1, 59.2, 59.8),
        "TaI-DPT*": (65.8, 66.2, 67.6, 68.1, 68.9),
        "T2I-PAL*": (71.6, 71.8, 73.1, 73.5, 74.1),
    },
}

_REMARKS = (
    "T2I-PAL: no public code; what its paper leaves open is said in docs/prompt-learners.md",
    "TaI-DPT's figures are of CLIP RN50, T2I-PAL's of RN101",
)
_DEVIATIONS = (
    "how T2I-PAL's scores are averaged with the other system's is not published: as TaI-DPT's "
    "here, each matrix scaled to [0, 1]",
    TIES,
)
_BESIDE = {T2I_INTEGRATED: "T2I-PAL*", DPT_INTEGRATED: "TaI-DPT*"}

T2I_TABLES = {
    table.name: table
    for table in (
        Table(
            name=f"{NAME} table 1",
            title="Table 1 of T2I-PAL, zero-shot: mAP without any labelled image",
            task="zsl",
            encoder=_ENCODER,
            sets=("voc2007", "coco2014", "nuswide"),
            columns=(Column(heading="mAP", settings={}),),
            published=_ZERO_SHOT,
            elsewhere={},
            remarks=_REMARKS,
            beside={ZERO_SHOT: "CLIP", T2I_PAL: "T2I-PAL", TAI_DPT: "TaI-DPT"},
            deviations=(TIES,),
            test_only=True,
            methods=(T2I_PAL, DEFAULT_SYNTHETIC, DEFAULT_TEXTS),
            learners=(T2I_PAL, TAI_DPT),
            with_images=True,
        ),
        Table(
            name=f"{NAME} table 2",
            title="Table 2 of T2I-PAL, partial labels: mAP at each known part of the labels",
            task="pll",
            encoder=_ENCODER,
            sets=("voc2007", "coco2014", "nuswide"),
            columns=tuple(
                Column(heading=f"{round(100 * known)}%", settings={"known": known})
                for known in KNOWN
            ),
            published=_PARTIAL_LABELS,
            elsewhere={},
            remarks=(*_REMARKS, "* averaged with DualCoOp's scores"),
            beside={**_BESIDE, DUALCOOP: "DualCoOp"},
            deviations=("which labels are known is drawn by the seed", *_DEVIATIONS),
            methods=(T2I_PAL, DUALCOOP),
            learners=(T2I_PAL, TAI_DPT, DUALCOOP),
            integrated="DualCoOp",
            other=DUALCOOP,
            share=0.9,
            average="Avg.",
            with_images=True,
        ),
        Table(
            name=f"{NAME} table 4",
            title="Table 4 of T2I-PAL, few shots: mAP with so many labelled images per label",
            task="fsl",
            encoder=_ENCODER,
            sets=("voc2007", "coco2014"),
            columns=tuple(
                Column(heading=f"{shots}-shot", settings={"shots": shots}) for shots in SHOTS
            ),
            published=_FEW_SHOTS,
            elsewhere={},
            remarks=(*_REMARKS, "* averaged with CoOp's scores"),
            beside={**_BESIDE, COOP: "CoOp"},
            deviations=("which images are the shots is drawn by the seed", *_DEVIATIONS),
            methods=(T2I_PAL, COOP),
            learners=(T2I_PAL, TAI_DPT, COOP),
            integrated="CoOp",
            other=COOP,
            share=0.6,
            with_images=True,
        ),
    )
}
"""The tables by name, in the paper's order."""
