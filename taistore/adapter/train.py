"""Train an adapter on the vectors of a store (section 3 of arXiv:2312.04160), resumably.

N labels, D embedding dimension.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from taistore.adapter.adapter_job import TrainingJob
from taistore.adapter.config import TASKS, TrainConfig
from taistore.adapter.data import Preparation, settle, summary
from taistore.adapter.inputs.earlier_run import earlier_run
from taistore.adapter.network import NetworkShape, Residual, build_network
from taistore.adapter.run_files.checkpoint import save_prompts
from taistore.adapter.run_files.kept.kept_discriminant import save_discriminant
from taistore.adapter.run_files.kept.run_labels import save_run_labels, seen_by_run
from taistore.adapter.run_files.run_folder import NewRun, folder_of, time_of_new_run
from taistore.adapter.run_files.run_start import RunStart
from taistore.adapter.run_files.training_state import load_state, read_position
from taistore.adapter.run_lifecycle import (
    CHECKPOINT_SECONDS,
    OnStart,
    RunResult,
    begin,
    go_on,
    unfinished,
)
from taistore.adapter.steps import Source
from taistore.encoders.precision import resolve_device
from taistore.errors import TrainingError
from taistore.progress import Progress, no_progress
from taistore.store.run_rows import RunRow
from taistore.store.store import Store


def train(
    store: Store,
    encoder_id: str,
    config: TrainConfig,
    *,
    prompts_ND: NDArray[np.float32],
    out: Path | None = None,
    progress: Progress = no_progress,
    on_start: OnStart | None = None,
    name: str | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult[TrainConfig]:
    """Train on the texts of ``store``, and on its labelled images where the task uses them.

    ``prompts_ND`` are the labels' unit prompt vectors, which the residual network starts from and
    which are kept with the run for its zero-shot scores. What ``config`` leaves ``auto`` is settled
    by what the store holds, and recorded. The run goes to ``out``, else into the store; ``name`` is
    its id. ``on_start`` is called with that id before the first step: from then on :func:`resume`
    continues the run, however it was stopped, to the same weights that it would have reached
    undisturbed. With ``config.from_run`` the labels of that run keep the weights that they have
    there, and others start as zero-shot. Raises :class:`TrainingError` without texts, on vectors or
    a loss that are not finite, and where nothing can be written.
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
    before = None
    if config.from_run:
        before = earlier_run(store, config.from_run, shape, encoder_id=encoder_id)
    data = Preparation.fresh(store, encoder_id, config)
    start, source, mean_unit_D = _begin(data, shape, progress)
    discriminant = data.discriminant(prompts_ND)
    network = build_network(shape, seed=config.seed).to(resolve_device(config.device))

    def made(new: NewRun) -> TrainingJob:
        data.save(new.folder)
        save_run_labels(new.folder, store.labels.keys)
        save_prompts(new.folder, prompts_ND)
        if discriminant is not None:
            save_discriminant(new.folder, discriminant)
        job = TrainingJob(
            store=store,
            run_id=new.run_id,
            folder=new.folder,
            checkpoint=new.checkpoint,
            start=start,
            network=network,
            source=source,
            images=data.measured_images(),
            checkpoint_seconds=checkpoint_seconds,
        )
        if isinstance(network, Residual):
            scale = None if before is None else before.scale
            job.start_residual(network, prompts_ND, mean_unit_D, scale=scale)
        if before is not None:
            before.hand_on(network)
        return job

    return begin(store, config, made, out=out, progress=progress, on_start=on_start, name=name)


def resume(
    store: Store,
    run_id: str,
    *,
    device: str | None = None,
    progress: Progress = no_progress,
    on_start: OnStart | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult[TrainConfig]:
    """Continue a run that was stopped, on the table versions that it began with.

    ``latest`` is the newest run that is not finished. A finished run is returned as it is, with
    ``finished_before`` set. ``device`` takes the place of the run's own. ``on_start`` is called
    with the run's id before the first step. Raises :class:`TrainingError` where nothing is left
    to resume, the run is being trained by another process, or its texts are gone.
    """
    row = unfinished(store) if run_id == "latest" else store.run(run_id)
    store = seen_by_run(store, row)
    if row.task not in TASKS:
        raise TrainingError(f"run {row.run_id} is of the kind {row.task!r}: it is never trained")
    config = TrainConfig.from_json(row.config)
    on = device or config.device
    return go_on(
        store,
        row,
        config,
        lambda again: _job_again(store, again, on, checkpoint_seconds, progress),
        require_state=read_position,
        progress=progress,
        on_start=on_start,
    )


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
    data = Preparation.again(store, start, folder=folder)
    job = TrainingJob(
        store=store,
        run_id=row.run_id,
        folder=folder,
        checkpoint=row.checkpoint,
        start=start,
        network=network.to(resolve_device(device)),
        source=_source_again(data, start, progress),
        images=data.measured_images(),
        checkpoint_seconds=checkpoint_seconds,
    )
    load_state(folder, network, job.optimizer, position)
    job.loss = position.loss
    return job, position.step


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


def _source_again(data: Preparation, start: RunStart, progress: Progress) -> Source:
    return data.source(
        data.texts(),
        data.images(),
        data.shift(progress),
        radius=start.radius,
        image_radius=start.image_radius,
    )
