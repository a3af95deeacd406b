"""Settings of a training that change nothing beside its other ones: refused, never ignored."""

from collections.abc import Mapping
from typing import Any

_NEIGHBOURS = ("neighbours", "neighbour_rounds", "neighbour_share", "neighbour_index")
_IMAGES = ("image_radius", "image_batch", "image_where")


def idle_settings(values: Mapping[str, Any]) -> dict[str, str]:
    """Names of the fields that change nothing among all ``values``, each with what it is for."""
    task, shift = values["task"], values["shift"]
    found: dict[str, str] = {}
    if task != "fsl":
        found |= dict.fromkeys(("shots", "shot_seed"), "task fsl")
    if task != "pll":
        found |= dict.fromkeys(("known", "mask_seed"), "task pll")
    if shift in ("none", "plain", "synthetic"):
        found |= dict.fromkeys((*_NEIGHBOURS, "pseudo_counts"), "shift neighbours")
    if task == "zsl":
        # Without a known label there is no count to weigh them against.
        found |= dict.fromkeys(("pseudo_counts", "loss"), "task fsl or pll")
        if shift in ("none", "synthetic"):
            found["split"] = "a shift towards the store's images, or task fsl or pll"
    if values["learn_from"] == "texts":
        images = "synthetic or texts+synthetic" if task == "zsl" else "images or both"
        found |= dict.fromkeys(_IMAGES, f"learn_from {images}")
        found.setdefault("loss", f"learn_from {images}")
    if values["network"] != "residual":
        found["start_deviation"] = "network residual"
    elif not values["hidden"]:
        found["dropout"] = "hidden layers"
    return found
