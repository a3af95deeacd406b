"""The files in a run's folder: their names, and how one is written, without loading torch."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from taistore.errors import TrainingError

WEIGHTS = "adapter.safetensors"
PROMPTS = "prompts.safetensors"
LEARNER = "learner.safetensors"
DISCRIMINANT = "discriminant.safetensors"
CARD = "card.json"
CALIBRATION = "calibration.json"
"""Of a finished run: what labelled images told of its scores, see ``scoring.cuts``."""

STATE = "training-state.safetensors"
"""Of a training under way."""


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file so that a kill leaves the old one or the new one, never a part."""
    part = path.with_name(path.name + ".part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        # On a full disk a half-written file would hold the very room that is missing.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise TrainingError(
            f"{path}: cannot be written ({reason}): mend that, then resume the run, or start it "
            "again where it had not begun"
        ) from error
