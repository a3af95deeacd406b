"""Where a run lives: its folder, and its row in the table ``runs``."""

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from taistore.adapter.run_files.checkpoint import CARD, WEIGHTS
from taistore.adapter.run_files.run_start import RunStart
from taistore.adapter.run_files.training_state import STATE
from taistore.errors import TrainingError
from taistore.store.run_rows import RunRow, RunStatus
from taistore.store.store import Store

RUNS = "runs"
"""Folder of runs inside a local store; LanceDB's own tables are folders named ``*.lance``."""


class NewRun(NamedTuple):
    """A run that has a folder and no row yet; ``checkpoint`` is how ``runs`` names the folder."""

    run_id: str
    folder: Path
    checkpoint: str


def run_folder(store: Store, run_id: str) -> Path:
    """Folder of a recorded run; :class:`StoreError` names the latest runs if it is unknown."""
    checkpoint = Path(store.run(run_id).checkpoint)
    return checkpoint if checkpoint.is_absolute() else Path(store.uri) / checkpoint


def new_folder(store: Store, task: str, out: Path | None) -> NewRun:
    """Make the folder of a new run.

    Without ``out`` it lies in the store, named relative to it, so that the store can be moved.
    """
    run_id = f"{task}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    if out is None:
        if "://" in store.uri:
            raise TrainingError(
                f"{store.uri} is not on this machine's disk: name a folder for the run with out"
            )
        folder, name = Path(store.uri) / RUNS / run_id, f"{RUNS}/{run_id}"
    else:
        folder = out.absolute()
        name = str(folder)
        if any((folder / file).exists() for file in (WEIGHTS, CARD, STATE)):
            raise TrainingError(f"{folder}: a run is here already: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{folder}: cannot be made ({error.strerror}): choose another folder"
        ) from error
    return NewRun(run_id, folder, name)


@contextlib.contextmanager
def beginning(run: NewRun) -> Iterator[None]:
    """Until a run has its row nothing leads to its folder: what fails meanwhile removes it.

    Files that were in the folder before stay.
    """
    before = set(run.folder.iterdir())
    try:
        yield
    except Exception:
        with contextlib.suppress(OSError):
            for path in set(run.folder.iterdir()) - before:
                path.unlink()
            if not before:
                run.folder.rmdir()
        raise


def time_of_new_run(store: Store) -> datetime:
    """Now (UTC), or just after the newest run where the clock has been put back since.

    ``latest`` is the run with the latest time: a new run must not come out older than another.
    """
    newest = store.runs()[-1:]
    return max([datetime.now(UTC), *(run.created + timedelta(microseconds=1) for run in newest)])


def run_row(
    run_id: str,
    start: RunStart,
    *,
    checkpoint: str,
    status: RunStatus,
    metrics: Mapping[str, float],
) -> RunRow:
    """The row of a training that began so."""
    return RunRow(
        run_id=run_id,
        task=start.config.task,
        encoder_id=start.encoder_id,
        status=status,
        seed=start.config.seed,
        config=start.config.to_json(),
        table_versions=start.table_versions,
        metrics=metrics,
        checkpoint=checkpoint,
        created=datetime.fromisoformat(start.created),
    )
