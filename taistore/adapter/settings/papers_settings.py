"""The setting of the paper (4.1 of arXiv:2312.04160), as fields of a configuration."""

from collections.abc import Mapping
from typing import Any

_HIDDEN = {"paper": 2048, "small": 512}

_BY_TASK: Mapping[str, Mapping[str, Any]] = {
    "zsl": {"shift": "none"},
    "fsl": {"learn_from": "both", "shift": "none"},
    "pll": {"learn_from": "texts", "shift": "plain"},
}

PAPERS_NETWORKS = tuple(_HIDDEN)
"""Networks that take the paper's settings for all that nothing is said of."""

RADIUS_RN50, SHIFTED_RADIUS_RN50, IMAGE_RADIUS_RN50 = 25.0, 10.0, 1.0
"""What section 4.1 of arXiv:2312.04160 gives for CLIP RN50, in the unit of its vectors."""


def papers_settings(*, task: object, network: object) -> dict[str, Any]:
    """What the paper gives for a task, with its network or one of another width."""
    return {
        "network": "paper",
        "hidden": _HIDDEN.get(str(network), 0),
        "dropout": 0.5,
        "epochs": 60,
        "batch": 64,
        "lr": 1e-4,
        **_BY_TASK.get(str(task), {}),
    }
