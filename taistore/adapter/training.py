"""Train an adapter on the vectors of a store (section 3 of arXiv:2312.04160), resumably.

N labels, D embedding dimension. Every random draw of a step comes from a generator seeded by the
run's seed and the step's number, so that a step is the same whatever went before it.
"""

import dataclasses
import importlib.metadata
import math
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import taistore
from taistore.adapter.checkpoint import AdapterCard, save_adapter
from taistore.adapter.config import TrainConfig
from taistore.adapter.loss import bce_value, sparse_bce
from taistore.adapter.network import AdapterNetwork, NetworkShape, build_network
from taistore.adapter.runs import new_folder, record, run_folder
from taistore.adapter.schedule import one_cycle
from taistore.adapter.sources import Source, TextSource, TrainingBatch, text_stream
from taistore.adapter.state import Position, load_state, read_position, save_state
from taistore.errors import TrainingError
from taistore.geometry.perturbation import perturb, resolve_radius
from taistore.progress import Progress, no_progress
from taistore.store.store import Store

LOSS_EVERY = 20
CHECKPOINT_SECONDS = 30.0
BF16_FROM_BATCH = 256
_LIBRARIES = ("torch", "numpy", "lancedb", "pylance", "safetensors")


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
    start, source = _new_start(store, encoder_id, config)
    device = _device(config)
    shape = NetworkShape(**start["shape"])
    network = build_network(shape, prompts_ND=prompts_ND, seed=config.seed).to(device)
    run_id, folder, name = new_folder(store, start, out)
    job = _Job(
        store=store,
        run_id=run_id,
        folder=folder,
        checkpoint=name,
        start=start,
        network=network,
        source=source,
        checkpoint_seconds=checkpoint_seconds,
    )
    job.save(0)
    record(store, run_id, start, checkpoint=name, status="running", metrics={})
    return job.run(0, progress)


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
    job = _Job(
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
    return job.run(position.step, progress)


def _new_start(store: Store, encoder_id: str, config: TrainConfig) -> tuple[dict[str, Any], Source]:
    """What a run needs to begin again at any step, as plain JSON, and its data."""
    encoder = store.encoder(encoder_id)
    if not store.count("text_vectors", encoder_id):
        raise TrainingError(
            f"{store.uri}: holds no texts for encoder {encoder.spec!r}: make some with 'taistore "
            "generate-texts --count 10000', or bring your own with 'taistore ingest-texts'"
        )
    stream = text_stream(store, encoder_id, batch=config.batch, seed=config.seed)
    mean_norm = stream.mean_norm()
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
    return start, TextSource(stream, labels=len(store.labels), radius=radius)


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


@dataclass(kw_only=True)
class _Job:
    """One training from a step to its end; ``run`` is called once."""

    store: Store
    run_id: str
    folder: Path
    checkpoint: str
    start: dict[str, Any]
    network: AdapterNetwork
    source: Source
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        self.config = TrainConfig.from_json(self.start["config"])
        self.total = self.config.epochs * self.source.batches_per_epoch
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.config.lr,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        self.device = next(self.network.parameters()).device
        self.generator = torch.Generator(self.device)
        self.loss = math.nan

    def run(self, first: int, progress: Progress) -> RunResult:
        began = time.monotonic()
        try:
            self._train(first, progress)
        except TrainingError:
            self._record("failed", {})
            raise
        metrics = {
            "loss": self.loss,
            "steps": float(self.total),
            "seconds": time.monotonic() - began,
        }
        save_adapter(self.folder, self.network, self._card(metrics))
        self._record("finished", metrics)
        return RunResult(
            run_id=self.run_id, checkpoint=self.folder, config=self.config, metrics=metrics
        )

    def save(self, step: int) -> None:
        save_state(self.folder, self.network, self.optimizer, Position(step=step, run=self.start))

    def _train(self, first: int, progress: Progress) -> None:
        self.network.train()
        per_epoch = self.source.batches_per_epoch
        step, shown, saved = first, first, time.monotonic()
        with progress("train", total=self.total - first, unit="steps") as bar:
            for epoch in range(first // per_epoch, self.config.epochs):
                begin = step - epoch * per_epoch
                for batch in self.source.batches(epoch=epoch, start=begin):
                    self._step(step, batch)
                    step += 1
                    if step % LOSS_EVERY == 0 or step == self.total:
                        bar.advance(step - shown, loss=self.loss)
                        shown = step
                    if time.monotonic() - saved >= self.checkpoint_seconds:
                        self.save(step)
                        saved = time.monotonic()

    def _step(self, step: int, batch: TrainingBatch) -> None:
        config = self.config
        seed = np.random.SeedSequence([config.seed, step]).generate_state(1)[0]
        self.generator.manual_seed(int(seed))
        for group in self.optimizer.param_groups:
            group["lr"], momentum = one_cycle(step, self.total, config.lr)
            group["betas"] = (momentum, group["betas"][1])
        vectors_BD = perturb(
            batch.vectors.to(self.device, non_blocking=True),
            batch.radius,
            where="interior" if config.where == "interior" else "surface",
            generator=self.generator,
            in_place=True,
        )
        positives_P = batch.positives.to(self.device, non_blocking=True)
        bf16 = self.device.type == "cuda" and config.batch >= BF16_FROM_BATCH
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            logits_BN = self.network(vectors_BD, self.generator)
        self.optimizer.zero_grad()
        torch.autograd.backward(sparse_bce(logits_BN, positives_P))
        self.optimizer.step()
        # The value serves the reader alone: computing it in every step would cost a tenth of it.
        if (step + 1) % LOSS_EVERY == 0 or step + 1 == self.total:
            self.loss = bce_value(logits_BN.detach(), positives_P)
            if not math.isfinite(self.loss):
                raise TrainingError(
                    f"the loss is {self.loss} at step {step + 1} of {self.total}: lower lr "
                    f"({config.lr:g}) or radius ({batch.radius:g}) and train again"
                )

    def _record(self, status: str, metrics: dict[str, float]) -> None:
        record(
            self.store,
            self.run_id,
            self.start,
            checkpoint=self.checkpoint,
            status=status,
            metrics=metrics,
        )

    def _card(self, metrics: dict[str, float]) -> AdapterCard:
        versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
        return AdapterCard(
            run_id=self.run_id,
            config=self.config,
            encoder=self.store.encoder(self.start["encoder_id"]),
            shape=NetworkShape(**self.start["shape"]),
            label_keys=tuple(self.store.labels.keys),
            label_names=tuple(label.name for label in self.store.labels),
            mean_text_norm=self.start["mean_text_norm"],
            radius=self.start["radius"],
            table_versions=self.start["table_versions"],
            library_versions={
                "python": platform.python_version(),
                "taistore": taistore.__version__,
                **versions,
            },
            metrics=metrics,
            created=self.start["created"],
            weights_digest="",
        )
