"""The state of a training under way: one safetensors file, replaced whole, never unpickled."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from taistore.adapter.optimizer import AdamW, Moments
from taistore.adapter.run_files.checkpoint import write_tensors
from taistore.adapter.run_files.run_start import RunStart
from taistore.errors import TrainingError

STATE = "training-state.safetensors"
_FIRST, _SECOND = "exp_avg", "exp_avg_sq"


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """How far a training is: steps done, what the run was started with, and its last computed
    loss, which is nan before the first."""

    step: int
    start: RunStart
    loss: float = math.nan


def save_state(folder: Path, network: nn.Module, optimizer: AdamW, position: Position) -> None:
    """Write weights, both moments of every weight and the position into ``folder``."""
    values = {f"network.{name}": value for name, value in network.state_dict().items()}
    for name, known in optimizer.moments.items():
        values |= {f"{_FIRST}.{name}": known.first, f"{_SECOND}.{name}": known.second}
    metadata = {
        "step": str(position.step),
        "run": json.dumps(position.start.to_json(), sort_keys=True),
        "loss": repr(position.loss),
    }
    write_tensors(folder / STATE, values, metadata)


def read_position(folder: Path) -> Position:
    """How far the training in ``folder`` is; :class:`TrainingError` where nothing can resume."""
    with _opened(folder) as file:
        metadata = file.metadata() or {}
        try:
            return Position(
                step=int(metadata["step"]),
                start=RunStart.from_json(json.loads(metadata["run"])),
                loss=float(metadata.get("loss", "nan")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, TrainingError):
            raise TrainingError(
                f"{folder / STATE}: not a training state of taistore: train again"
            ) from None


def load_state(folder: Path, network: nn.Module, optimizer: AdamW, position: Position) -> None:
    """Put weights and moments back as they were at ``position``, on the network's device."""
    with _opened(folder) as file:
        names = set(file.keys())
        weights = {
            name.removeprefix("network."): file.get_tensor(name)
            for name in names
            if name.startswith("network.")
        }
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise TrainingError(
                f"{folder / STATE}: of another network than the run's: train again"
            ) from error
        for name, weight in optimizer.weights.items():
            if f"{_FIRST}.{name}" in names:
                first, second = (
                    file.get_tensor(f"{moment}.{name}").to(weight.device)
                    for moment in (_FIRST, _SECOND)
                )
                steps = torch.tensor(float(position.step), device=weight.device)
                optimizer.moments[name] = Moments(first, second, steps)


def _opened(folder: Path) -> Any:
    path = folder / STATE
    if not path.is_file():
        raise TrainingError(
            f"{folder}: no training state to resume ({STATE} is missing): train again"
        )
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: damaged: train again") from error
