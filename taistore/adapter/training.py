"""Train an adapter on the vectors of a store (section 3 of arXiv:2312.04160), resumably.

N labels, D embedding dimension.
"""

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.adapter.job import TrainingJob
from taistore.adapter.network import NetworkShape, Residual, build_network
from taistore.adapter.runs import new_folder, record, run_folder
from taistore.adapter.sources import Source, TextSource, text_stream
from taistore.adapter.state import load_state, read_position
from taistore.errors import TrainingError
from taistore.geometry.perturbation import resolve_radius
from taistore.progress import Progress, no_progress
from taistore.store.store import Store

CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """A finished training: ``checkpoint`` is the folder that ``load_adapter`` reads."""

    run_id: str
    checkpoint: Path
    config: TrainConfig
    metrics: dict[str, float]


def train(
    store: Store,
    encoder_id: str,
    config: TrainConfig,
    *,
    prompts_ND: NDArray[np.float32],
    out: Path | None = None,
    progress: Progress = no_progress,
    resume_run: str | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult:
    """Train on the texts of ``store`` and record the run.

    ``prompts_ND`` are the labels' unit prompt vectors, which the residual network starts from.
    The run goes to ``out``, else into the store, where it can be resumed after a kill:
    ``resume_run`` continues a run whose configuration is ``config``, to the same weights that it
    would have reached undisturbed. Raises :class:`TrainingError` without texts, on vectors or a
    loss that are not finite, and where nothing can be written.
    """
    if resume_run is not None:
        return resume(
            store,
            resume_run,
            config=config,
            progress=progress,
            checkpoint_seconds=checkpoint_seconds,
        )
    start, source, mean_unit_D = _new_start(store, encoder_id, config)
    shape = NetworkShape(**start["shape"])
    if prompts_ND.shape != (shape.labels, shape.dim):
        raise TrainingError(
            f"prompt vectors have the shape {list(prompts_ND.shape)}, but the store has "
            f"{shape.labels} labels and the encoder {shape.dim} dimensions"
        )
    network = build_network(shape, seed=config.seed).to(_device(config))
    run_id, folder, name = new_folder(store, start, out)
    job = TrainingJob(
        store=store,
        run_id=run_id,
        folder=folder,
        checkpoint=name,
        start=start,
        network=network,
        source=source,
        checkpoint_seconds=checkpoint_seconds,
    )
    if isinstance(network, Residual):
        job.start_residual(network, prompts_ND, mean_unit_D)
    job.save(0)
    record(store, run_id, start, checkpoint=name, status="running", metrics={})
    return RunResult(run_id=run_id, checkpoint=folder, config=config, metrics=job.run(0, progress))


def resume(
    store: Store,
    run_id: str,
    *,
    config: TrainConfig | None = None,
    progress: Progress = no_progress,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunResult:
    """Continue a run that was killed, on the table versions that it began with.

    A finished run is returned as it is. ``config``, where given, must be the run's own; raises
    :class:`TrainingError` naming the field that differs.
    """
    row = store.run(run_id)
    recorded = TrainConfig.from_json(row["config"])
    for field in dataclasses.fields(TrainConfig) if config is not None else ():
        ours, theirs = getattr(config, field.name), getattr(recorded, field.name)
        if ours != theirs:
            raise TrainingError(
                f"run {run_id} was started with {field.name} {theirs!r}, not {ours!r}: resume it "
                "with its own configuration, or train a new run"
            )
    folder = run_folder(store, run_id)
    if row["status"] == "finished":
        return RunResult(run_id=run_id, checkpoint=folder, config=recorded, metrics=row["metrics"])
    position = read_position(folder)
    start = position.run
    source = _source(store, start)
    network = build_network(NetworkShape(**start["shape"])).to(_device(recorded))
    job = TrainingJob(
        store=store,
        run_id=run_id,
        folder=folder,
        checkpoint=row["checkpoint"],
        start=start,
        network=network,
        source=source,
        checkpoint_seconds=checkpoint_seconds,
    )
    load_state(folder, network, job.optimizer, position)
    metrics = job.run(position.step, progress)
    return RunResult(run_id=run_id, checkpoint=folder, config=recorded, metrics=metrics)


def _new_start(
    store: Store, encoder_id: str, config: TrainConfig
) -> tuple[dict[str, Any], Source, NDArray[np.float32]]:
    """What a run needs to begin again at any step, as plain JSON; its data; its mean text [D]."""
    encoder = store.encoder(encoder_id)
    if not store.count("text_vectors", encoder_id):
        raise TrainingError(
            f"{store.uri}: holds no texts for encoder {encoder.spec!r}: make some with 'taistore "
            "generate-texts --count 10000', or bring your own with 'taistore ingest-texts'"
        )
    stream = text_stream(store, encoder_id, batch=config.batch, seed=config.seed)
    mean_norm, mean_unit_D = stream.summary()
    if not mean_norm > 0:
        raise TrainingError(f"{store.uri}: all vectors of {stream.name!r} are zero: encode again")
    shape = NetworkShape(
        network=config.network,
        dim=encoder.dim,
        labels=len(store.labels),
        hidden=config.hidden,
        dropout=config.dropout,
    )
    radius = resolve_radius(config.radius, mean_norm)
    start = {
        "encoder_id": encoder_id,
        "config": config.to_json(),
        "shape": dataclasses.asdict(shape),
        "mean_text_norm": mean_norm,
        "radius": radius,
        "table_versions": store.versions(
            [("labels", None), ("combinations", None), ("texts", None)]
        )
        | {stream.name: stream.version},
        "created": datetime.now(UTC).isoformat(),
    }
    source = TextSource(stream, labels=len(store.labels), radius=radius)
    return start, source, mean_unit_D


def _source(store: Store, start: dict[str, Any]) -> Source:
    config = TrainConfig.from_json(start["config"])
    name = store.table_name("text_vectors", start["encoder_id"])
    stream = text_stream(
        store,
        start["encoder_id"],
        batch=config.batch,
        seed=config.seed,
        version=start["table_versions"][name],
    )
    return TextSource(stream, labels=len(store.labels), radius=start["radius"])


def _device(config: TrainConfig) -> torch.device:
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(
            f"device {config.device!r} is not usable on this machine: give 'auto' or 'cpu'"
        ) from error
    return device
