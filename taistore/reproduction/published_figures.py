"""What arXiv:2312.04160 prints in Tables 1 to 3, and what others print of the same, digit by digit.

All are mAP in percent, by set and system, in the order of the paper. They are quoted: nothing here
is computed from them, and no setting was chosen by them.
"""

import math
from collections.abc import Mapping

Figures = Mapping[str, Mapping[str, tuple[float, ...]]]
"""By set, then by system: a value for each column of the table, NaN where none is published."""

PARTIAL_LABELS: Figures = {
    "voc2007": {
        "SARB": (83.5, 88.6, 90.7, 91.4, 91.9, 92.2, 92.6, 92.8, 92.9),
        "DualCoOp": (91.4, 93.8, 93.8, 94.3, 94.6, 94.7, 94.8, 94.9, 94.9),
        "TaI-DPT*": (93.3, 94.6, 94.8, 94.9, 95.1, 95.0, 95.1, 95.3, 95.5),
        "TaI-Adapter*": (93.8, 94.7, 95.1, 95.2, 95.3, 95.3, 95.4, 95.6, 95.7),
    },
    "coco2014": {
        "SARB": (71.2, 75.0, 77.1, 78.3, 78.9, 79.6, 79.8, 80.5, 80.5),
        "DualCoOp": (81.0, 82.3, 82.9, 83.4, 83.5, 83.9, 84.0, 84.1, 84.3),
        "TaI-DPT*": (81.5, 82.6, 83.3, 83.7, 83.9, 84.0, 84.2, 84.4, 84.5),
        "TaI-Adapter*": (82.1, 82.9, 83.5, 84.0, 84.4, 84.7, 84.9, 85.1, 85.1),
    },
    "nuswide": {
        "DualCoOp": (54.0, 56.2, 56.9, 57.4, 57.9, 57.9, 57.6, 58.2, 58.8),
        "TaI-DPT*": (56.4, 57.9, 57.8, 58.1, 58.5, 58.8, 58.6, 59.1, 59.4),
        "TaI-Adapter*": (59.5, 61.9, 62.8, 63.2, 63.2, 63.1, 63.5, 64.2, 65.0),
    },
}
"""Table 1, 10 to 90 % of the labels known; its last column, Avg., is the mean of these."""

PARTIAL_LABELS_ELSEWHERE: Figures = {
    "voc2007": {
        "SSGRL": (77.7, 87.6, 89.9, 90.7, 91.4, 91.8, 91.9, 92.2, 92.2),
        "GCN-ML": (74.5, 87.4, 89.7, 90.7, 91.0, 91.3, 91.5, 91.8, 92.0),
        "Partial-BCE": (80.7, 88.4, 89.9, 90.7, 91.2, 91.8, 92.3, 92.4, 92.5),
        "DualCoOp, in T2I-PAL": (90.3, 92.2, 92.8, 93.3, 93.6, 93.9, 94.0, 94.1, 94.2),
        "T2I-PAL* (RN101)": (93.7, 94.8, 94.8, 94.9, 94.9, 95.2, 95.5, 95.5, 95.5),
    },
    "coco2014": {
        "SSGRL": (62.5, 70.5, 73.2, 74.5, 76.3, 76.5, 77.1, 77.9, 78.4),
        "GCN-ML": (63.8, 70.9, 72.8, 74.0, 76.7, 77.1, 77.3, 78.3, 78.6),
        "Partial-BCE": (61.6, 70.5, 74.1, 76.3, 77.2, 77.7, 78.2, 78.4, 78.5),
        "DualCoOp, in T2I-PAL": (78.7, 80.9, 81.7, 82.0, 82.5, 82.7, 82.8, 83.0, 83.1),
        "T2I-PAL* (RN101)": (82.7, 83.0, 84.5, 84.6, 84.8, 85.0, 85.6, 85.8, 85.9),
    },
    "nuswide": {
        "T2I-PAL* (RN101)": (56.7, 57.9, 57.9, 58.3, 58.7, 59.2, 59.3, 59.3, 59.3),
    },
}
"""Table 2 of T2I-PAL, but for the rows that Table 1 has with the same figures."""

ZERO_SHOT_FIGURES: Figures = {
    "voc2007": {"CLIP": (77.3,), "TaI-DPT": (88.3,), "TaI-Adapter": (89.0,)},
    "coco2014": {"CLIP": (49.7,), "TaI-DPT": (65.1,), "TaI-Adapter": (67.7,)},
    "nuswide": {"CLIP": (37.4,), "TaI-DPT": (46.5,), "TaI-Adapter": (53.3,)},
}
"""Table 2."""

_ZERO_SHOT_ELSEWHERE = {
    "CLIP, in T2I-PAL": (76.2, 47.3, 36.4),
    "T2I-PAL (RN101)": (91.5, 71.4, 47.4),
    "SPARC + local (RN50)": (89.9, 68.4, 44.5),
    "CoMC (RN50)": (math.nan, 68.8, math.nan),
    "TagCLIP (ViT-B/16)": (92.8, 68.8, math.nan),
    "PIAA (ViT-B/16)": (92.5, 74.6, 50.6),
}

ZERO_SHOT_ELSEWHERE: Figures = {
    name: {system: (values[place],) for system, values in _ZERO_SHOT_ELSEWHERE.items()}
    for place, name in enumerate(("voc2007", "coco2014", "nuswide"))
}
"""What the papers of later and of larger systems give, the encoder in brackets."""

FEW_SHOTS: Figures = {
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
}
"""Table 3, 1 to 16 shots."""

FEW_SHOTS_ELSEWHERE: Figures = {
    "voc2007": {
        "TaI-DPT*, in T2I-PAL": (88.6, 89.2, 89.1, 89.5, 90.1),
        "T2I-PAL* (RN101)": (91.7, 92.1, 92.2, 92.3, 92.9),
    },
    "coco2014": {
        "TaI-DPT*, in T2I-PAL": (65.8, 66.2, 67.6, 68.1, 68.9),
        "T2I-PAL* (RN101)": (71.6, 71.8, 73.1, 73.5, 74.1),
    },
}
"""Table 4 of T2I-PAL, but for CoOp, of which Table 3 has the same figures."""

_TEST_SPLIT = (
    "TaI-DPT: its published figures are of the epoch that was best on (part of) the test set, and "
    "its COCO captions for training include those of most test images; taistore itself picks "
    "nothing on a test split"
)

PARTIAL_LABELS_REMARKS = (
    "SARB, SSGRL, GCN-ML and Partial-BCE train an image network on labelled photos: out of scope "
    "here, where encoders are frozen; their figures are only quoted",
    "* averaged with DualCoOp's scores",
    _TEST_SPLIT,
    "elsewhere: Table 2 of T2I-PAL, which has other figures of DualCoOp on voc2007 and coco2014",
)

ZERO_SHOT_REMARKS = (
    _TEST_SPLIT,
    "elsewhere: of the systems' own papers and of T2I-PAL's, with the encoder in brackets; only "
    "those of one encoder compare. T2I-PAL trains on synthetic images; PIAA's figures are of the "
    "best of three encoders adapted to dense prediction",
)

FEW_SHOTS_REMARKS = (
    "* averaged with CoOp's scores",
    "CoOp: no public code reproduces its published multi-label figures",
    _TEST_SPLIT,
    "elsewhere: Table 4 of T2I-PAL, which has other figures of TaI-DPT averaged with CoOp; what "
    "trains an image network on labelled photos (LaSO, ML-FSL) is out of scope and published for "
    "16 new labels of coco2014 alone",
)
