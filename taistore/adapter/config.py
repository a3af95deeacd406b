"""The configuration of a training: validated once, written to the card as plain JSON."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from taistore.adapter.network import NETWORKS
from taistore.errors import TrainingError
from taistore.geometry.perturbation import PLACES, resolve_radius

TASKS = ("zsl",)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """How an adapter is trained. The defaults are the best we measured; see docs/log.md.

    ``radius`` is ``auto``, a multiple of the mean text norm (``"2.5x"``) or a number in the unit
    of the vectors. ``where`` is ``surface`` or ``interior``. ``lr`` is the top of the 1-cycle.
    ``hidden`` is the width of the fully connected layers; at 0 the residual network has none.
    Raises :class:`TrainingError` naming a field, its value and what is allowed.
    """

    task: str = "zsl"
    network: str = "residual"
    hidden: int = 0
    dropout: float = 0.5
    epochs: int = 20
    batch: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.01
    radius: str | float = "auto"
    where: str = "surface"
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        _one_of("task", self.task, TASKS)
        _one_of("network", self.network, NETWORKS)
        _one_of("where", self.where, PLACES)
        for name in ("epochs", "batch"):
            _whole(name, getattr(self, name), low=1)
        _whole("hidden", self.hidden, low=1 if self.network == "paper" else 0)
        _whole("seed", self.seed, low=0)
        _number("dropout", self.dropout, "at least 0 and below 1", 0 <= self.dropout < 1)
        _number("lr", self.lr, "above 0", self.lr > 0)
        _number("weight_decay", self.weight_decay, "at least 0", self.weight_decay >= 0)
        resolve_radius(self.radius, 1.0)

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """The paper's setting (4.1 of arXiv:2312.04160), with ``changes``.

        Its plain network, 60 epochs, batch 64, 1-cycle up to 1e-4, radius 25 for CLIP RN50's
        norm of 10: ``auto``. The paper leaves width and dropout open: 512,
        which trains on 10,000 texts in about a CPU minute, and 0.5.
        """
        values: dict[str, Any] = {
            "network": "paper",
            "hidden": 512,
            "dropout": 0.5,
            "epochs": 60,
            "batch": 64,
            "lr": 1e-4,
        }
        return cls(**(values | changes))

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`; raises :class:`TrainingError` on a field that does not exist."""
        unknown = set(values) - {field.name for field in dataclasses.fields(cls)}
        if unknown:
            raise TrainingError(
                f"the configuration holds the unknown field {min(unknown)!r}: it was written by "
                "another version of taistore"
            )
        return cls(**values)

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return dataclasses.asdict(self)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise TrainingError(f"{name} {value!r} is not allowed: give one of {', '.join(allowed)}")


def _whole(name: str, value: object, *, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise TrainingError(f"{name} {value!r} is not allowed: give a whole number from {low} on")


def _number(name: str, value: float, allowed: str, fits: bool) -> None:
    if not (fits and math.isfinite(value)):
        raise TrainingError(f"{name} {value!r} is not allowed: give a number {allowed}")
