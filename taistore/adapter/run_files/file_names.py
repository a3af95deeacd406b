"""The files in a run's folder: their names, and how one is written, without loading torch."""

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from taistore.errors import TrainingError
from taistore.store.places import whole_file

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
    try:
        with whole_file(path) as part:
            write(part)
    except (OSError, SafetensorError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise TrainingError(
            f"{path}: cannot be written ({reason}): mend that, then resume the run, or start it "
            "again where it had not begun"
        ) from error
