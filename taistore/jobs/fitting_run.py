"""The run that a training would end in, taken where the store has it: nothing is learnt twice."""

from typing import TYPE_CHECKING, NamedTuple

from taistore.adapter.config import TrainConfig
from taistore.adapter.data import settle
from taistore.adapter.inputs.read_tables import read_versions
from taistore.adapter.run_files.kept.run_labels import run_label_keys
from taistore.adapter.run_files.run_lock import liveness
from taistore.errors import ScoringError, StoreError, TrainingError
from taistore.run import Run
from taistore.store.reads.same_rows import same_rows_since
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.project import Project


class FittingRun(NamedTuple):
    """A finished run, and whether anything had to be learnt for it."""

    run: Run
    trained: bool


def fitting_run(project: "Project") -> FittingRun:
    """The adapter of the store's texts as they are, by the settings of a new ``zsl`` training.

    One that is finished is taken, one that was stopped is brought to its end; else, or where that
    one is damaged, a new one is trained. Runs fit whose settings are equal, and which read the rows
    that are there now. One that another job trains is noted and not waited for.
    """
    fitting = _fitting(project)
    for row in fitting:
        if row.status == "finished" and (run := _opened(project, row)):
            return FittingRun(run, trained=False)
    for row in fitting:
        now = liveness(project.store, row)
        if now.status in ("running", "unknown"):
            project.note(
                f"note: another job may be training the same ({row.run_id}: {now}): this one does "
                "not wait for it"
            )
        if now.status != "stopped":
            continue
        try:
            return FittingRun(project.resume(row.run_id), trained=True)
        except TrainingError as error:
            _leave(project, row, error)
    return FittingRun(project.train("zsl"), trained=True)


def _opened(project: "Project", row: RunRow) -> Run | None:
    """A finished run with its weights; None, and a note, where they are gone or damaged."""
    run = Run(project, row)
    try:
        run.load()
    except (ScoringError, TrainingError) as error:
        _leave(project, row, error)
        return None
    return run


def _leave(project: "Project", row: RunRow, error: Exception) -> None:
    project.note(f"note: run {row.run_id} is left as it is: {error}")


def _fitting(project: "Project") -> list[RunRow]:
    """Runs that began as a training would begin now, the newest first."""
    store, encoder_id = project.store, project.encoder_info().encoder_id
    config = settle(store, encoder_id, TrainConfig(task="zsl", device=project.device))
    settings, versions = _settings(config), read_versions(store, encoder_id, config)
    since = {table: same_rows_since(store, table) for table in versions}
    return [
        row
        for row in reversed(store.runs())
        if row.encoder_id == encoder_id
        and row.table_versions.keys() == versions.keys()
        and all(
            since[table] <= read <= versions[table] for table, read in row.table_versions.items()
        )
        and {**row.config, "device": ""} == settings
        and _has_labels(store, row)
    ]


def _has_labels(store: Store, row: RunRow) -> bool:
    """Whether a run is of the labels that the store is read with."""
    try:
        return run_label_keys(store, row) == store.labels.keys
    except (StoreError, TrainingError):
        return False


def _settings(config: TrainConfig) -> dict[str, object]:
    """What decides the weights: on which device they are learnt does not."""
    return {**config.to_json(), "device": ""}
