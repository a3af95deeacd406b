"""Tables 1, 2 and 4 of T2I-PAL, as data: their columns, settings and published figures."""

from taistore.reproduction.published_figures import (
    FEW_SHOTS,
    FEW_SHOTS_ELSEWHERE,
    PARTIAL_LABELS,
    PARTIAL_LABELS_ELSEWHERE,
    ZERO_SHOT_ELSEWHERE,
    ZERO_SHOT_FIGURES,
    Figures,
)
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

_HERE = ", in T2I-PAL"
"""After the name of a system of which this paper prints other figures than TaI-Adapter's."""


def _figures(quoted: Figures, elsewhere: Figures, *rows: str) -> Figures:
    """The paper's rows, from where all published figures stand."""
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for name, systems in quoted.items():
        every = {**systems, **elsewhere[name]}
        for row in rows:
            names = (f"{row}{_HERE}", f"{row} (RN101)", row)
            figures = next((every[one] for one in names if one in every), None)
            if figures is not None:
                found.setdefault(name, {})[row] = figures
    return found


_ZERO_SHOT = _figures(ZERO_SHOT_FIGURES, ZERO_SHOT_ELSEWHERE, "CLIP", "TaI-DPT", "T2I-PAL")
_PARTIAL_LABELS = _figures(
    PARTIAL_LABELS, PARTIAL_LABELS_ELSEWHERE, "SARB", "DualCoOp", "TaI-DPT*", "T2I-PAL*"
)
_FEW_SHOTS = _figures(FEW_SHOTS, FEW_SHOTS_ELSEWHERE, "CoOp", "TaI-DPT*", "T2I-PAL*")

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
