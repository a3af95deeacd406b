"""Removes runs that nobody needs any more: their files, then their rows."""

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from taistore.adapter.known_labels import KNOWN
from taistore.adapter.run_files.file_names import (
    CARD,
    DISCRIMINANT,
    LEARNER,
    PROMPTS,
    STATE,
    WEIGHTS,
)
from taistore.adapter.run_files.kept.kept_shift import SHIFT
from taistore.adapter.run_files.kept.run_labels import LABELS
from taistore.adapter.run_files.lock_state import LOCK
from taistore.adapter.run_files.run_folder import discard_kept, folder_of
from taistore.adapter.run_files.run_lock import written_alone
from taistore.errors import TrainingError
from taistore.stopping import held
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

IMPORTED = ("imported-scores.npy", "imported-ids.npy")
"""What an ensemble keeps of another system's scores."""

OWN_FILES = (
    *(WEIGHTS, LEARNER, PROMPTS, DISCRIMINANT, CARD, SHIFT, KNOWN, LABELS, STATE),
    *IMPORTED,
)
"""What a run or an ensemble writes into its folder; whatever else lies there is somebody's."""

_HALF_WRITTEN = re.compile(r"\.tmp\w{6}")
"""The name that safetensors gives a file until it is whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovedRun:
    """A run that is gone: what its files took, and its folder where other files are still in it."""

    run_id: str
    bytes_freed: int
    folder_left: Path | None = None


def remove_runs(store: Store, run_ids: Sequence[str]) -> list[RemovedRun]:
    """Remove runs, each with its own files and its row; other files in its folder stay.

    All ids are looked at first: raises :class:`StoreError` for one that is not there, and
    :class:`TrainingError` for one that is being trained or is part of an ensemble that stays.
    Killed at any moment and run again it removes the rest: the row goes last, and before the first
    file does it says that the run is not finished.
    """
    if "latest" in run_ids:
        raise TrainingError(
            "'latest' may be another run in a moment: name a run to remove by its id"
        )
    rows = [store.run(run_id) for run_id in dict.fromkeys(run_ids)]
    going = {row.run_id for row in rows}
    for row in store.runs():
        for member in row.config.get("members", ()):
            if member in going and row.run_id not in going:
                raise TrainingError(
                    f"run {member} is part of the ensemble {row.run_id}: remove that one too, or "
                    "keep both"
                )
    # Ensembles first: one whose members are gone can be opened no more.
    rows.sort(key=lambda row: "members" not in row.config)
    with contextlib.ExitStack() as locks, held():
        for row in rows:
            folder = folder_of(store, row)
            if folder.is_dir():
                locks.enter_context(written_alone(folder, row.run_id))
        removed = {row.run_id: _remove(store, row) for row in rows}
    return [removed[run_id] for run_id in dict.fromkeys(run_ids)]


def drop_leftovers(store: Store) -> list[Path]:
    """Remove what killed jobs left in the folders of runs: half-written files, and their locks.

    Returns what is gone. A run that is being written is left alone.
    """
    gone: list[Path] = []
    with held():
        for row in store.runs():
            folder = folder_of(store, row)
            lock = folder / LOCK
            found = [lock, *_parts(folder)] if lock.is_file() else _parts(folder)
            if found:
                with contextlib.suppress(TrainingError, OSError), written_alone(folder, row.run_id):
                    for path in _parts(folder):
                        path.unlink()
                gone += [path for path in found if not path.exists()]
    return gone


def _parts(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    names = {f"{name}.part" for name in OWN_FILES}
    there = (path for path in folder.iterdir() if path.is_file())
    return [path for path in there if path.name in names or _HALF_WRITTEN.fullmatch(path.name)]


def _remove(store: Store, row: RunRow) -> RemovedRun:
    folder = folder_of(store, row)
    if row.status == "finished":
        store.record_run(replace(row, status="stopped"))
    freed = 0
    try:
        for path in (*(folder / name for name in OWN_FILES), *_parts(folder)):
            if path.is_file():
                freed += path.stat().st_size
                path.unlink()
    except OSError as error:
        raise TrainingError(
            f"{folder}: run {row.run_id} cannot be removed ({error.strerror}): mend that, and run "
            "the same command again"
        ) from error
    freed = discard_kept(store, row, OWN_FILES) or freed
    store.forget_run(row.run_id)
    with contextlib.suppress(OSError):
        (folder / LOCK).unlink()
        folder.rmdir()
    return RemovedRun(
        run_id=row.run_id, bytes_freed=freed, folder_left=folder if folder.is_dir() else None
    )
