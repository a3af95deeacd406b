"""What ``auto`` comes to in each task, where it depends on nothing else."""

from collections.abc import Mapping
from typing import Any

ALL_IMAGES = "all"
"""As a split: every image of the store."""

AUTO_BY_TASK: Mapping[str, Mapping[str, Any]] = {
    "zsl": {
        "learn_from": "texts",
        "split": ALL_IMAGES,
        "neighbour_rounds": 2,
        "neighbour_share": 2 / 3,
    },
    "fsl": {
        "learn_from": "both",
        "shift": "neighbours",
        "split": "train",
        "neighbour_rounds": 1,
        "neighbour_share": 1 / 2,
    },
    "pll": {
        "learn_from": "both",
        "shift": "neighbours",
        "split": "train",
        "neighbour_rounds": 1,
        "neighbour_share": 1 / 2,
    },
}
"""What ``auto`` means in each task. Without any label the neighbours count more, and are looked up
once more from where the first ones led (docs/log.md)."""
