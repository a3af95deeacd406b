"""What is done where nobody says otherwise: one place for the library and for the command line.

Plain values; importing this loads nothing.
"""

from typing import Final

STORE: Final = "./taistore-store"
"""Where the command line looks for a store."""

ENCODER: Final = "open_clip:RN50/openai@224"
"""The encoder of a new store: the paper's (4.1 of arXiv:2312.04160)."""

SPLIT: Final = "test"
"""The split that is evaluated, and whose images other systems' scores are for."""

TEXTS: Final = 10_000
"""Texts that ``generate_texts`` writes."""

MAX_LABELS: Final = 3
"""Most labels in one text: 1 to this many, each as often."""

REGIONS: Final = 7
"""Regions a side that tagging photos looks at; it suits every encoder."""

TOP_K: Final = 5
"""Tags of an image where neither a number nor a threshold is asked for."""

PAGE_IMAGES: Final = 500
"""Images on a page of tags."""

BOOTSTRAP: Final = 1000
"""Resamples of the images that two runs are compared over."""

KEEP_DAYS: Final = 1.0
"""Days for which ``optimize`` keeps older versions of tables, for whoever still reads them."""
