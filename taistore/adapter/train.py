"""Train an adapter on the vectors of a store (section 3 of arXiv:2312.04160), resumably.

N labels, D embedding dimension.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taistore.adapter.config import TASKS, TrainConfig
from taistore.adapter.data import Preparation, settle, summary
from taistore.adapter.adapter_job import TrainingJob
from taistore.adapter.network import NetworkShape, Residual, build_network
from taistore.adapter.run_files.checkpoint import save_prompts
from taistore.adapter.run_files.run_folder import (
    beginning,
    fetched_folder,
    folder_of,
    new_folder,
    require_free,
    run_folder,
    time_of_new_run,
)
from taistore.adapter.run_files.run_lock import written_alone
from taistore.adapter.run_files.run_start import RunStart
from taistore.adapter.run_files.training_state import load_state, read_position
from taistore.adapter.steps import Source
from taistore.encoders.precision import resolve_device
from taistore.errors import TrainingError
from taistore.progress import Progress, no_progress
from taistore.stopping import held
from taistore.store.places import is_remote
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

CHECKPOINT_SECONDS = 30.0

OnStart = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """A finished training: ``checkpoint`` is the folder that ``load_adapter`` reads.

    ``known`` counts the labelled images that it used, ``shift`` says what its offsets rest on;
    both are empty where a task has none. ``finished_before``: it was to be resumed, but was
    finished already.
    """

    run_id: str
    checkpoint: Path
    config: TrainConfig
    metrics: dict[str, float]
    known: Mapping[str, int] = field(default_factory=dict)
    shift: Mapping[str, float | str] = field(default_factory=dict)
    finished_before: bool = False


def train(
    store: Store,
    encoder_id: str,
    config: TrainConfig,
    *,
    prompts_ND: NDArray[np.float32],
    out: Path | None = None,
    progress: Progress = no_progress,
    on_start: OnStart | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult:
    """Train on the texts of ``store``, and on its labelled images where the task uses them.

    ``prompts_ND`` are the labels' unit prompt vectors, which the residual network starts from and
    which are kept with the run for its zero-shot scores. What ``config`` leaves ``auto`` is settled
    by what the store holds, and recorded. The run goes to ``out``, else into the
    store. ``on_start`` is called with its id before the first step: from then on :func:`resume`
    continues the run, however it was stopped, to the same weights that it would have reached
    undisturbed. Raises :class:`TrainingError` without texts, on vectors or a loss that are not
    finite, and where nothing can be written.
    """
    config = settle(store, encoder_id, config)
    shape = NetworkShape(
        network=config.network,
        dim=store.encoder(encoder_id).dim,
        labels=len(store.labels),
        hidden=config.hidden,
        dropout=config.dropout,
    )
    if prompts_ND.shape != (shape.labels, shape.dim):
        raise TrainingError(
            f"prompt vectors have the shape {list(prompts_ND.shape)}, but the store has "
            f"{shape.labels} labels and the encoder {shape.dim} dimensions"
        )
    data = Preparation.fresh(store, encoder_id, config)
    start, source, mean_unit_D = _begin(data, shape, progress)
    network = build_network(shape, seed=config.seed).to(resolve_device(config.device))
    # From here on a signal leaves a run that can be resumed, or none.
    with held():
        new = new_folder(store, config.task, out)
        run_id, folder, name, locked = new
        with written_alone(locked, run_id):
            require_free(folder)
            with beginning(new):
                data.save(folder)
                save_prompts(folder, prompts_ND)
                job = TrainingJob(
                    store=store,
                    run_id=run_id,
                    folder=folder,
                    checkpoint=name,
                    start=start,
                    adapter=network,
                    source=source,
                    checkpoint_seconds=checkpoint_seconds,
                )
                if isinstance(network, Residual):
                    job.start_residual(network, prompts_ND, mean_unit_D)
                job.save()
                job.record("running", {})
            if on_start is not None:
                on_start(run_id)
            return _result(job, config, job.run(0, progress))


def resume(
    store: Store,
    run_id: str,
    *,
    device: str | None = None,
    progress: Progress = no_progress,
    on_start: OnStart | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult:
    """Continue a run that was stopped, on the table versions that it began with.

    ``latest`` is the newest run that is not finished. A finished run is returned as it is, with
    ``finished_before`` set. ``device`` takes the place of the run's own. ``on_start`` is called
    with the run's id before the first step. Raises :class:`TrainingError` where nothing is left
    to resume, the run is being trained by another process, or its texts are gone.
    """
    row = _unfinished(store) if run_id == "latest" else store.run(run_id)
    run_id = row.run_id
    if row.task not in TASKS:
        raise TrainingError(f"run {run_id} is of the kind {row.task!r}: it is never trained")
    config = TrainConfig.from_json(row.config)
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
        read_position(folder)
    with written_alone(folder, run_id):
        if store.run(run_id).status != "finished":
            fetched_folder(store, row)
            on = device or config.device
            job, first = _job_again(store, row, on, checkpoint_seconds, progress)
            if on_start is not None:
                on_start(run_id)
            return _result(job, config, job.run(first, progress))
    # Another process has finished it while this one waited.
    return resume(store, run_id)


def _job_again(
    store: Store,
    row: RunRow,
    device: str,
    checkpoint_seconds: float,
    progress: Progress,
) -> tuple[TrainingJob, int]:
    """The job as it was saved, and the step that it goes on with."""
    folder = folder_of(store, row)
    position = read_position(folder)
    start = position.start
    network = build_network(start.shape)
    job = TrainingJob(
        store=store,
        run_id=row.run_id,
        folder=folder,
        checkpoint=row.checkpoint,
        start=start,
        adapter=network.to(resolve_device(device)),
        source=_source_again(store, start, folder, progress),
        checkpoint_seconds=checkpoint_seconds,
    )
    load_state(folder, network, job.optimizer, position)
    job.loss = position.loss
    return job, position.step


def _result(job: TrainingJob, config: TrainConfig, metrics: dict[str, float]) -> RunResult:
    return RunResult(
        run_id=job.run_id,
        checkpoint=job.folder,
        config=config,
        metrics=metrics,
        known=job.start.known,
        shift=job.start.shift,
    )


def _unfinished(store: Store) -> RunRow:
    unfinished = [row for row in store.runs() if row.status != "finished"]
    if unfinished:
        return unfinished[-1]
    raise TrainingError(f"{store.uri}: has no unfinished run to resume: train a new run")


def _begin(
    data: Preparation, shape: NetworkShape, progress: Progress
) -> tuple[RunStart, Source, NDArray[np.float32]]:
    """What a run needs to begin again at any step; its data; its mean text [D]."""
    texts, images = data.texts(), data.images()
    mean_norm, mean_unit_D = summary(texts)
    image_norm = summary(images).mean_norm if images is not None else None
    shift = data.shift(progress)
    config = data.config
    start = RunStart(
        encoder_id=data.encoder_id,
        config=config,
        shape=shape,
        mean_text_norm=mean_norm,
        radius=config.text_radius(mean_norm),
        mean_image_norm=image_norm,
        image_radius=None if image_norm is None else config.image_radius_at(image_norm),
        known=data.counts(),
        shift=data.report(shift),
        table_versions=data.versions,
        created=time_of_new_run(data.store).isoformat(),
    )
    source = data.source(texts, images, shift, radius=start.radius, image_radius=start.image_radius)
    return start, source, mean_unit_D


def _source_again(store: Store, start: RunStart, folder: Path, progress: Progress) -> Source:
    data = Preparation.again(store, start, folder=folder)
    return data.source(
        data.texts(),
        data.images(),
        data.shift(progress),
        radius=start.radius,
        image_radius=start.image_radius,
    )
