"""Where a run lives: its folder, and its row in the table ``runs``."""

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from taistore.adapter.run_files.file_names import (
    CALIBRATION,
    CARD,
    DISCRIMINANT,
    LEARNER,
    PROMPTS,
    STATE,
    WEIGHTS,
)
from taistore.adapter.run_files.lock_state import is_held
from taistore.errors import TrainingError
from taistore.store.object_folder import ObjectFolder, remove_copy
from taistore.store.places import cache_folder, is_remote, local_path
from taistore.store.run_rows import RUNS, RunRow, RunStatus
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.adapter.run_files.run_start import Started

_SEALS = (STATE, PROMPTS, DISCRIMINANT, WEIGHTS, LEARNER, CARD, CALIBRATION)
"""Put last and in this order: the card names the others' digests, so with it all is there. A
calibration is made of a run that is."""

_KEPT = (".safetensors", ".parquet", ".npy")


class NewRun(NamedTuple):
    """A run that has a folder and no row yet; ``checkpoint`` is how ``runs`` names the folder.

    ``locked`` is where others look whether it is being written, see :func:`folder_of`.
    """

    run_id: str
    folder: Path
    checkpoint: str
    locked: Path


def run_folder(store: Store, run_id: str) -> Path:
    """Folder of a recorded run; of one in an object store, its copy on this machine.

    Nothing is fetched where a training on this machine is at work in that folder. Raises
    :class:`StoreError` that names the latest runs if it is unknown, and where its files cannot be
    fetched.
    """
    row = store.run(run_id)
    folder = folder_of(store, row)
    # What is kept of it may be older, and a copy of that would take the place of what is newer.
    unfinished = row.status != "finished" and _is_kept_away(store, row.checkpoint)
    if unfinished and is_held(folder) and (folder / STATE).is_file():
        return folder
    return fetched_folder(store, row)


def fetched_folder(store: Store, row: RunRow) -> Path:
    """The folder with what is kept of the run, for whoever holds its lock; raises as above."""
    folder = folder_of(store, row)
    if _is_kept_away(store, row.checkpoint):
        return ObjectFolder(run_place(store, row.checkpoint)).fetch(folder)
    return folder


def folder_of(store: Store, row: RunRow) -> Path:
    """Folder on this machine of the run of a row; nothing is fetched into it."""
    if _is_kept_away(store, row.checkpoint):
        return cache_folder(store.uri, row.run_id)
    checkpoint = Path(row.checkpoint)
    return checkpoint if checkpoint.is_absolute() else Path(store.uri) / checkpoint


def run_place(store: Store, checkpoint: str) -> str:
    """Where a run is kept, for people: a folder, or a URI; nothing is read."""
    if Path(checkpoint).is_absolute():
        return checkpoint
    return f"{store.uri}/{checkpoint}"


def keep_folder(store: Store, checkpoint: str, folder: Path) -> None:
    """Bring what has changed in a run's folder to where the run is kept.

    Nothing is left to do where that is the folder itself, as with a store on disk.
    """
    if _is_kept_away(store, checkpoint):
        rest = sorted(
            path.name
            for path in folder.iterdir()
            if path.name not in _SEALS and path.suffix in _KEPT and path.is_file()
        )
        ObjectFolder(run_place(store, checkpoint)).keep(folder, [*rest, *_SEALS])


def discard_kept(store: Store, row: RunRow, names: Sequence[str]) -> int:
    """Remove files of a run from where it is kept, if that is not its folder; returns their bytes.

    Its folder here, a copy, goes as well unless other files are in it.
    """
    if not _is_kept_away(store, row.checkpoint):
        return 0
    freed = ObjectFolder(run_place(store, row.checkpoint)).remove(names)
    remove_copy(folder_of(store, row))
    return freed


def _is_kept_away(store: Store, checkpoint: str) -> bool:
    return is_remote(store.uri) and not Path(checkpoint).is_absolute()


def new_folder(store: Store, task: str, out: Path | None, *, name: str | None = None) -> NewRun:
    """Make the folder of a new run, which is called ``name``, or by its task and the time.

    Without ``out`` it lies in the store, named relative to it, so that the store can be moved.
    With a store in an object store it is where the run works on this machine, and
    :func:`keep_folder` brings its files into the store.
    """
    run_id = name or f"{task}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    checkpoint = f"{RUNS}/{run_id}"
    if out is None:
        remote = is_remote(store.uri)
        folder = cache_folder(store.uri, run_id) if remote else Path(store.uri) / checkpoint
    else:
        folder = local_path(out, option="out").absolute()
        checkpoint = checkpoint if is_remote(store.uri) else str(folder)
        require_free(folder)
    # With a folder of its own a run of an object store is still looked for where others would work.
    locked = cache_folder(store.uri, run_id) if is_remote(store.uri) else folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        locked.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{folder}: cannot be made ({error.strerror}): choose another folder"
        ) from error
    return NewRun(run_id, folder, checkpoint, locked)


def require_free(folder: Path) -> None:
    """Raise :class:`TrainingError` where a run lies in ``folder``."""
    if any((folder / file).exists() for file in (WEIGHTS, LEARNER, CARD, STATE)):
        raise TrainingError(f"{folder}: a run is here already: choose another folder")


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
        raise


def time_of_new_run(store: Store) -> datetime:
    """Now (UTC), or just after the newest run where the clock has been put back since.

    ``latest`` is the run with the latest time: a new run must not come out older than another.
    """
    newest = store.runs()[-1:]
    return max([datetime.now(UTC), *(run.created + timedelta(microseconds=1) for run in newest)])


def run_row(
    run_id: str,
    start: "Started",
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
