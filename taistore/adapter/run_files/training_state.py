"""The state of a training under way: one safetensors file, replaced whole, never unpickled."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from taistore.adapter.run_files.checkpoint import write_tensors
from taistore.adapter.run_files.file_names import STATE
from taistore.adapter.run_files.run_start import RunStart, Started
from taistore.errors import TrainingError

_NETWORK = "network."

StartT = TypeVar("StartT", bound=Started)


class StepOptimizer(Protocol):
    """What moves the weights of a network, and knows something of each."""

    def zero_grad(self) -> None:
        """Forget the gradients."""
        ...

    def tensors(self) -> dict[str, torch.Tensor]:
        """What it knows, by names that do not begin with ``network.``."""
        ...

    def put_back(self, tensors: Mapping[str, torch.Tensor], *, steps: int) -> None:
        """What :meth:`tensors` gave after so many steps."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Position(Generic[StartT]):
    """How far a training is: steps done, what the run was started with, and its last computed
    loss, which is nan before the first."""

    step: int
    start: StartT
    loss: float = math.nan


def save_state(
    folder: Path, network: nn.Module, optimizer: StepOptimizer, position: Position[Any]
) -> None:
    """Write weights, what the optimizer knows and the position into ``folder``."""
    values = {_NETWORK + name: value for name, value in network.state_dict().items()}
    values |= optimizer.tensors()
    metadata = {
        "step": str(position.step),
        "run": json.dumps(position.start.to_json(), sort_keys=True),
        "loss": repr(position.loss),
    }
    write_tensors(folder / STATE, values, metadata)


def read_position(folder: Path) -> Position[RunStart]:
    """How far the training of an adapter is; :class:`TrainingError` where nothing can resume."""
    return position_of(folder, RunStart.from_json)


def position_of(folder: Path, read: Callable[[dict[str, Any]], StartT]) -> Position[StartT]:
    """How far the training in ``folder`` is, whose start ``read`` makes of plain values.

    Raises :class:`TrainingError` where nothing can resume.
    """
    with _opened(folder) as file:
        metadata = file.metadata() or {}
        try:
            return Position(
                step=int(metadata["step"]),
                start=read(json.loads(metadata["run"])),
                loss=float(metadata.get("loss", "nan")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError, TrainingError):
            raise TrainingError(
                f"{folder / STATE}: not a training state of taistore: train again"
            ) from None


def load_state(
    folder: Path, network: nn.Module, optimizer: StepOptimizer, position: Position[Any]
) -> None:
    """Put weights and optimizer back as they were at ``position``, on the network's device."""
    with _opened(folder) as file:
        names = sorted(file.keys())
        weights = {
            name.removeprefix(_NETWORK): file.get_tensor(name)
            for name in names
            if name.startswith(_NETWORK)
        }
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            raise TrainingError(
                f"{folder / STATE}: of another network than the run's: train again"
            ) from error
        known = {name: file.get_tensor(name) for name in names if not name.startswith(_NETWORK)}
    optimizer.put_back(known, steps=position.step)


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
