"""Where a run lives: its folder, and its row in the table ``runs``."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taistore.adapter.checkpoint import CARD, WEIGHTS
from taistore.adapter.state import STATE
from taistore.errors import TrainingError
from taistore.store.store import Store

RUNS = "runs"
"""Folder of runs inside a local store; LanceDB's own tables are folders named ``*.lance``."""


def run_folder(store: Store, run_id: str) -> Path:
    """Folder of a recorded run; :class:`StoreError` names the latest runs if it is unknown."""
    checkpoint = Path(store.run(run_id)["checkpoint"])
    return checkpoint if checkpoint.is_absolute() else Path(store.uri) / checkpoint


def new_folder(store: Store, start: Mapping[str, Any], out: Path | None) -> tuple[str, Path, str]:
    """Make the folder of a new run: its id, the folder, and how ``runs.checkpoint`` names it.

    Without ``out`` it lies in the store, named relative to it, so that the store can be moved.
    """
    now = datetime.now(UTC)
    digest = hashlib.sha256(json.dumps([start, now.isoformat()], sort_keys=True).encode())
    run_id = f"{start['config']['task']}-{now:%Y%m%d-%H%M%S}-{digest.hexdigest()[:6]}"
    if out is None:
        if "://" in store.uri:
            raise TrainingError(
                f"{store.uri} is not on this machine's disk: name a folder for the run with --out"
            )
        folder, name = Path(store.uri) / RUNS / run_id, f"{RUNS}/{run_id}"
    else:
        folder = out.absolute()
        name = str(folder)
        if any((folder / file).exists() for file in (WEIGHTS, CARD, STATE)):
            raise TrainingError(f"{folder}: a run is here already: choose another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{folder}: cannot be made ({error.strerror}): choose another --out"
        ) from error
    return run_id, folder, name


def record(
    store: Store,
    run_id: str,
    start: Mapping[str, Any],
    *,
    checkpoint: str,
    status: str,
    metrics: Mapping[str, float],
) -> None:
    """Insert or replace the row of a run; ``status`` is running, finished or failed."""
    store.record_run(
        {
            "run_id": run_id,
            "task": start["config"]["task"],
            "encoder_id": start["encoder_id"],
            "status": status,
            "seed": start["config"]["seed"],
            "config": dict(start["config"]),
            "table_versions": dict(start["table_versions"]),
            "metrics": dict(metrics),
            "checkpoint": checkpoint,
            "created": datetime.fromisoformat(start["created"]),
        }
    )
