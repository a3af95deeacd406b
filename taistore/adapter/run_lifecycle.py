"""From a new folder to a finished run, and on from where one was stopped, whatever is trained."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from taistore.adapter.loop import TrainingLoop
from taistore.adapter.run_files.run_folder import (
    NewRun,
    beginning,
    fetched_folder,
    folder_of,
    new_folder,
    require_free,
    run_folder,
)
from taistore.adapter.run_files.run_lock import written_alone
from taistore.adapter.run_files.run_names import claimed, require_new_name
from taistore.adapter.run_files.run_start import Settings
from taistore.errors import TrainingError
from taistore.progress import Progress
from taistore.stopping import held
from taistore.store.places import is_remote
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

CHECKPOINT_SECONDS = 30.0

OnStart = Callable[[str], None]

ConfigT = TypeVar("ConfigT", bound=Settings)
AnyLoop = TrainingLoop[Any, Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult(Generic[ConfigT]):
    """A finished training: ``checkpoint`` is the folder that holds it.

    ``known`` counts the labelled images that it used, ``shift`` says what its offsets rest on;
    both are empty where a task has none. ``finished_before``: it was to be resumed, but was
    finished already.
    """

    run_id: str
    checkpoint: Path
    config: ConfigT
    metrics: dict[str, float]
    known: Mapping[str, int] = field(default_factory=dict)
    shift: Mapping[str, float | str] = field(default_factory=dict)
    finished_before: bool = False


def begin(
    store: Store,
    config: ConfigT,
    make: Callable[[NewRun], AnyLoop],
    *,
    out: Path | None,
    progress: Progress,
    on_start: OnStart | None,
    name: str | None = None,
) -> RunResult[ConfigT]:
    """Train what ``make`` makes in a new folder, in which it puts what the run will need.

    ``name`` is the id of the run; None: made of its task and the time. A signal leaves a run that
    can be resumed, or none. ``on_start`` is called with its id before the first step.
    """
    with held():
        if name is not None:
            require_new_name(store, name)
        new = new_folder(store, config.task, out, name=name)
        with written_alone(new.locked, new.run_id):
            require_free(new.folder)
            with beginning(new):
                job = make(new)
                mine = (
                    contextlib.nullcontext()
                    if name is None
                    else claimed(store, job.row("running", {}))
                )
                with mine:
                    job.save()
                    job.record("running", {})
            if on_start is not None:
                on_start(new.run_id)
            return _result(job, config, job.run(0, progress))


def go_on(
    store: Store,
    row: RunRow,
    config: ConfigT,
    again: Callable[[RunRow], tuple[AnyLoop, int]],
    *,
    require_state: Callable[[Path], object],
    progress: Progress,
    on_start: OnStart | None,
) -> RunResult[ConfigT]:
    """Train the rest of a run; ``again`` gives its job as it was saved, and the step to go on with.

    A finished run is returned as it is. ``require_state`` raises :class:`TrainingError` where its
    folder holds nothing to resume. Raises that too where another process trains it.
    """
    run_id = row.run_id
    if row.status == "finished":
        folder = run_folder(store, run_id)
        metrics = {k: float(v) for k, v in row.metrics.items() if isinstance(v, int | float)}
        return RunResult(
            run_id=run_id, checkpoint=folder, config=config, metrics=metrics, finished_before=True
        )
    folder = folder_of(store, row)
    if is_remote(store.uri):
        folder.mkdir(parents=True, exist_ok=True)
    else:  # Where there is nothing to resume, nothing is locked.
        require_state(folder)
    with written_alone(folder, run_id):
        row = store.run(run_id)
        if row.status != "finished":
            fetched_folder(store, row)
            job, first = again(row)
            if on_start is not None:
                on_start(run_id)
            return _result(job, config, job.run(first, progress))
    # Another process has finished it while this one waited.
    return go_on(
        store, row, config, again, require_state=require_state, progress=progress, on_start=on_start
    )


def unfinished(store: Store) -> RunRow:
    """The newest run that is not finished; :class:`TrainingError` where there is none."""
    found = [row for row in store.runs() if row.status != "finished"]
    if found:
        return found[-1]
    raise TrainingError(f"{store.uri}: has no unfinished run to resume: train a new run")


def _result(job: AnyLoop, config: ConfigT, metrics: dict[str, float]) -> RunResult[ConfigT]:
    return RunResult(
        run_id=job.run_id,
        checkpoint=job.folder,
        config=config,
        metrics=metrics,
        known=job.start.known,
        shift=job.start.shift,
    )
