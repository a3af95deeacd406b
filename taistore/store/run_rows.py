"""A row of the table ``runs``: what was run, on what, and how far it came."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Self

from taistore.errors import StoreError

RunStatus = Literal["running", "finished", "failed", "stopped"]
"""What a row says. A training that was killed could not say so: its row goes on to say running."""

RUNS = "runs"
"""Folder of runs inside a local store; LanceDB's own tables are folders named ``*.lance``."""

_JSON = ("config", "table_versions", "metrics")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRow:
    """One recorded run.

    ``task`` is one of training's or ``ensemble``. ``config`` holds its settings and ``metrics`` its
    figures, as plain JSON; ``table_versions`` what it read, by table name. ``checkpoint`` is its
    folder, relative to the store where it lies inside.
    """

    run_id: str
    task: str
    encoder_id: str
    status: RunStatus
    seed: int
    config: Mapping[str, Any]
    table_versions: Mapping[str, int]
    metrics: Mapping[str, Any]
    checkpoint: str
    created: datetime

    @classmethod
    def from_table(cls, row: Mapping[str, Any]) -> Self:
        """From a row as the table holds it, its JSON columns as text."""
        return cls(**{**row, **{name: json.loads(row[name]) for name in _JSON}})

    def to_table(self) -> dict[str, Any]:
        """The row as the table holds it."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        decoded = {name: json.dumps(dict(values[name]), sort_keys=True) for name in _JSON}
        return {**values, **decoded}


def run_named(run_id: str, known: Sequence[RunRow], *, uri: str) -> RunRow:
    """The run with this id among those of a store, oldest first; ``latest``: the last finished one.

    Raises :class:`StoreError` naming the latest runs where there is no such run.
    """
    finished = [run.run_id for run in known if run.status == "finished"]
    wanted = finished[-1] if run_id == "latest" and finished else run_id
    for run in known:
        if run.run_id == wanted:
            return run
    recent = ", ".join(run.run_id for run in known[-3:]) or "none yet: 'taistore train' makes one"
    raise StoreError(f"{uri}: no run {run_id!r} (latest: {recent})")
