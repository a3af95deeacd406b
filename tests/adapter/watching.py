"""Watch a training from outside: its progress, a stop in its middle, its weights."""

from typing import Self

from taistore.adapter.config import TrainConfig
from taistore.adapter.run_files.file_names import WEIGHTS
from taistore.adapter.run_lifecycle import RunResult
from taistore.progress import Progress, ProgressBar, no_progress


class InterruptedTrainingError(Exception):
    """Stands for a kill in the middle of a training."""


class Bar:
    """Records what is shown; raises once ``stop_at`` units are done."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.done = 0
        self.losses: list[float] = []
        self.stop_at = stop_at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.done += amount
        self.losses.append(figures["loss"])
        if self.stop_at is not None and self.done >= self.stop_at:
            raise InterruptedTrainingError


def showing(bar: Bar) -> Progress:
    def progress(description: str, *, total: int | None, unit: str) -> ProgressBar:
        return bar if description == "train" else no_progress(description, total=total, unit=unit)

    return progress


def weights(result: RunResult[TrainConfig]) -> bytes:
    return (result.checkpoint / WEIGHTS).read_bytes()
