"""Settings that a file holds: written by hand, or recorded by a run of this or an older version."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from taistore.adapter.run_files.plain_json import read_plain
from taistore.errors import TrainingError


def read_settings(path: Path) -> tuple[dict[str, Any], bool]:
    """The fields in a TOML file, or in the ``card.json`` of a run, and whether it was a card.

    Raises :class:`TrainingError` naming the file where it holds no settings.
    """
    try:
        text = read_plain(path)
        read = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise TrainingError(f"{path}: neither TOML nor a run's card ({error})") from error
    values = read.get("config", read) if isinstance(read, dict) else None
    if not isinstance(values, dict):
        raise TrainingError(f"{path}: holds no settings: give fields such as epochs = 20")
    return values, values is not read


def upgraded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings of an earlier version in today's fields, where they can be said so."""
    known = dict(values)
    if known.get("image_weight") == 1:
        del known["image_weight"]
    if known.get("shift") == "shrunk":
        # No round of neighbours leaves the gap alone, which is what it was.
        known |= {"shift": "neighbours", "neighbour_rounds": 0}
    # Until this field came every step took all labels.
    known.setdefault("sampled_labels", 0)
    if "image_where" not in known:
        # Until this field came the paper's network was the small one, and one place held for all.
        known["image_where"] = known.get("where", "surface")
        if known.get("network") == "paper":
            known["network"] = "small"
    return known
