"""What a training began with: all that it needs to begin again at any step."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

from pydantic import ConfigDict

from taistore.adapter.config import TrainConfig
from taistore.adapter.network import NetworkShape
from taistore.adapter.run_files.plain_json import STRICT, from_plain


class Settings(Protocol):
    """What every training is configured with."""

    @property
    def task(self) -> str:
        """zsl, fsl or pll."""
        ...

    @property
    def seed(self) -> int:
        """Of all that is random."""
        ...

    @property
    def epochs(self) -> int:
        """Passes over what it learns from."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        ...


class Started(Protocol):
    """What a run began with, whatever it trains."""

    @property
    def encoder_id(self) -> str:
        """Whose vectors it learns from."""
        ...

    @property
    def config(self) -> Settings:
        """Its configuration."""
        ...

    @property
    def known(self) -> Mapping[str, int]:
        """Counts of the labelled images that it uses; empty where it uses none."""
        ...

    @property
    def shift(self) -> Mapping[str, float | str]:
        """What its offsets rest on; empty where nothing is moved."""
        ...

    @property
    def table_versions(self) -> Mapping[str, int]:
        """The versions of the tables that it reads."""
        ...

    @property
    def created(self) -> str:
        """When it began, in ISO 8601."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStart:
    """A run's settings and what they came to on its data.

    ``radius`` and ``image_radius`` are in the unit of the vectors, like the mean norms; those of
    images are None where the loss takes none. ``known`` counts the labelled images that it uses,
    ``shift`` says what its offsets rest on; both are empty where a task has none. ``created`` is a
    time in ISO 8601.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    encoder_id: str
    config: TrainConfig
    shape: NetworkShape
    mean_text_norm: float
    radius: float
    mean_image_norm: float | None = None
    image_radius: float | None = None
    known: Mapping[str, int] = field(default_factory=dict)
    shift: Mapping[str, float | str] = field(default_factory=dict)
    table_versions: Mapping[str, int]
    created: str

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            **values,
            "config": self.config.to_json(),
            "shape": dataclasses.asdict(self.shape),
            "known": dict(self.known),
            "shift": dict(self.shift),
            "table_versions": dict(self.table_versions),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From :meth:`to_json`; raises ValueError, KeyError or TrainingError on anything else."""
        config = TrainConfig.from_json(values["config"])
        changed = {
            "config": config.to_json(),
            "shape": todays_shape(values["shape"], config),
            "known": values.get("known") or {},
            "shift": values.get("shift") or {},
        }
        return from_plain(cls, {**values, **changed})


def todays_shape(shape: object, config: TrainConfig) -> object:
    """A recorded shape, whose network has had another name where ``config`` says so."""
    if isinstance(shape, dict) and (shape.get("network"), config.network) == ("paper", "small"):
        return {**shape, "network": "small"}
    return shape
