"""What is done where nobody says otherwise: one place for the library and for the command line.

Plain values; importing this loads nothing.
"""

import math
from typing import Final

STORE: Final = "./taistore-store"
"""Where the command line looks for a store."""

ENCODER: Final = "open_clip:RN50/openai@224"
"""The encoder of a new store: the paper's (4.1 of arXiv:2312.04160)."""

SPLIT: Final = "test"
"""The split that is evaluated, and whose images other systems' scores are for."""

VALIDATION: Final = "val"
"""The split that thresholds, probabilities and the step that ranks are chosen on."""

FEW_IMAGES: Final = 200
"""With fewer images training has nothing but its texts to go by."""

MOST_TEXTS: Final = 10_000
"""Texts that ``generate_texts`` writes at most where nobody says how many."""

FEWEST_OF_A_LABEL: Final = 5
"""Texts a label that it writes at least."""

MAX_LABELS: Final = 3
"""Most labels in one text: 1 to this many, each as often."""

REGIONS: Final = 7
"""Regions a side that tagging photos looks at; it suits every encoder."""

TAGS: Final = "tags.jsonl"
"""The file of tags that the main job writes; the page lies beside it, as .html."""

TOP_K: Final = 5
"""Tags of an image by scores without a scale, where nothing says which are tags."""

MOST_TAGS: Final = 20
"""Tags of an image at most where the cut is the one that is best on average."""

CUT_CONFIDENCE: Final = 0.25
CUT_SHARE: Final = 0.1
SHARE_SHARPNESS: Final = 0.43
"""That cut, see ``scoring.cuts.image_share``: the confidence that a tag has at least, its share
among the image's best labels, and the weight of a logit in shares."""

PRECISION: Final = 0.9
"""Share of right tags that ``calibrate`` looks for thresholds of."""

CERTAINTY: Final = 0.9
"""Confidence with which a label keeps that promise."""

PAGE_IMAGES: Final = 500
"""Images on a page of tags."""

BOOTSTRAP: Final = 1000
"""Resamples of the images that two runs are compared over."""

KEEP_DAYS: Final = 1.0
"""Days for which ``optimize`` keeps older versions of tables, for whoever still reads them."""


def texts(labels: int, images: int, *, first: int = 0) -> int:
    """Texts that ``generate_texts`` writes for so many labels, by the images that the store has.

    Measured (docs/log.md): a training that has texts alone to go by ends the same from 6 a label;
    one that goes by images as well needs 5,000. No image yet: any may come. Of more than 2,000
    labels there are 5 for each, as many as a combination has: with fewer some would have none.

    >>> texts(40, 100), texts(20, 1_000), texts(40, 0), texts(7_186, 0)
    (250, 5000, 10000, 35930)

    Where labels were added to the ``first`` ones, each gets what one of these has, so that the
    captions of these stay enough as they are; no more than a small set's minimum leaves it.

    >>> texts(80, 1_000, first=60), texts(81, 1_000, first=1)
    (13334, 20250)
    """
    per_label, least = (6, 250) if 0 < images < FEW_IMAGES else (250, 5_000)
    if 0 < first < labels:
        return math.ceil(labels * min(texts(first, images) / first, per_label))
    return max(min(max(per_label * labels, least), MOST_TEXTS), FEWEST_OF_A_LABEL * labels)
