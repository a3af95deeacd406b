"""One training from a step to its end: the loop, its checkpoints and its final card.

B batch, D embedding dimension, N labels, P positives of a batch. Every random draw of a step comes
from a generator seeded by the run's seed and the step's number, so that a step is the same
whatever went before it.
"""

import contextlib
import importlib.metadata
import math
import platform
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from numpy.typing import NDArray

import taistore
from taistore.adapter.freed_memory import give_back
from taistore.adapter.loss import bce_value, sparse_bce
from taistore.adapter.network import AdapterNetwork, Residual
from taistore.adapter.optimizer import AdamW, one_cycle
from taistore.adapter.run_files.checkpoint import AdapterCard, save_adapter
from taistore.adapter.run_files.run_folder import keep_folder, run_row
from taistore.adapter.run_files.run_start import RunStart
from taistore.adapter.run_files.training_state import Position, save_state
from taistore.adapter.steps import Source, Step, TrainingBatch
from taistore.errors import StoreError, TrainingError
from taistore.geometry.perturbation import perturb
from taistore.progress import Progress
from taistore.stopping import StopRequested, check, held, stop_requested
from taistore.store.run_rows import RunStatus
from taistore.store.store import Store

LOSS_EVERY = 20
SAMPLE_ROWS = 2048
BF16_FROM_BATCH = 256
_LIBRARIES = ("torch", "numpy", "lancedb", "pylance", "safetensors")


class _DivergedError(TrainingError):
    """The loss is not finite, so that the weights are not worth keeping."""


@dataclass(kw_only=True)
class TrainingJob:
    """One training from a step to its end; ``run`` is called once."""

    store: Store
    run_id: str
    folder: Path
    checkpoint: str
    start: RunStart
    network: AdapterNetwork
    source: Source
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        self.config = self.start.config
        self.total = self.config.epochs * self.source.batches_per_epoch
        self.optimizer = AdamW(self.network, weight_decay=self.config.weight_decay)
        self.device = next(self.network.parameters()).device
        self.generator = torch.Generator(self.device)
        self.loss = math.nan
        self.done = 0

    def run(self, first: int, progress: Progress) -> dict[str, float]:
        """Train from step ``first`` on; returns the figures of the finished run.

        However it ends, what is done is saved; a signal or Ctrl-C leaves a run that is stopped.
        """
        with held():
            return self._run(first, progress)

    def _run(self, first: int, progress: Progress) -> dict[str, float]:
        give_back()  # what preparing took
        began = time.monotonic()
        self.done = first
        try:
            self._train(first, progress)
            metrics = {
                "loss": self.loss,
                "steps": float(self.total),
                "seconds": time.monotonic() - began,
            }
            save_adapter(self.folder, self.network, self._card(metrics))
            keep_folder(self.store, self.checkpoint, self.folder)
            self.record("finished", metrics)
        except _DivergedError:
            with contextlib.suppress(StoreError):
                self.record("failed", {})
            raise
        except BaseException as error:
            # The reader is to see what ended the training, not that it could not be saved too.
            with contextlib.suppress(Exception):
                self.save()
            if isinstance(error, TrainingError):
                with contextlib.suppress(StoreError):
                    self.record("failed", {})
            if isinstance(error, KeyboardInterrupt | StopRequested):
                with contextlib.suppress(StoreError):
                    self.record("stopped", {})
            raise
        return metrics

    def save(self) -> None:
        """Write what the run needs to go on from the steps that are done."""
        position = Position(step=self.done, start=self.start, loss=self.loss)
        save_state(self.folder, self.network, self.optimizer, position)
        keep_folder(self.store, self.checkpoint, self.folder)

    def start_residual(
        self, network: Residual, prompts_ND: NDArray[np.float32], mean_unit_D: NDArray[np.float32]
    ) -> None:
        """Set zero-shot up from the prompts and a sample of the perturbed texts."""
        sample = self._sample()
        # No step has this number.
        self._seed(self.total)
        network.start_from(
            torch.from_numpy(prompts_ND).to(self.device),
            torch.from_numpy(mean_unit_D).to(self.device),
            self._perturbed(sample),
            len(sample.positives) / (len(sample.vectors) * network.linear.out_features),
            deviation=self.config.start_deviation,
        )

    def _sample(self) -> TrainingBatch:
        """The first texts of the first epoch as one batch."""
        parts: list[TrainingBatch] = []
        rows = 0
        for batch in self.source.texts():
            shift = rows * self.start.shape.labels
            parts.append(batch._replace(positives=batch.positives + shift))
            rows += len(batch.vectors)
            if rows >= SAMPLE_ROWS:
                break
        return TrainingBatch(
            torch.cat([part.vectors for part in parts]),
            torch.cat([part.positives for part in parts]),
            parts[0].radius,
            parts[0].where,
        )

    def _seed(self, step: int) -> None:
        seed = np.random.SeedSequence([self.config.seed, step]).generate_state(1)[0]
        self.generator.manual_seed(int(seed))

    def _perturbed(self, batch: TrainingBatch) -> torch.Tensor:
        return perturb(
            batch.vectors.to(self.device, non_blocking=True),
            batch.radius,
            where=batch.where,
            generator=self.generator,
            in_place=True,
        )

    def _competition(self) -> tuple[float, float]:
        """Spread and energy of the finished network's logits over a sample of the texts."""
        self.network.eval()
        with torch.inference_mode():
            logits_BN = self.network(self._sample().vectors.to(self.device)).float()
            spread = float(logits_BN.std(correction=0).clamp_min(1e-6))
            energy = spread * torch.logsumexp(logits_BN / spread, dim=1).mean()
        return spread, float(energy)

    def _train(self, first: int, progress: Progress) -> None:
        self.network.train()
        per_epoch = self.source.batches_per_epoch
        shown, saved = first, time.monotonic()
        with progress("train", total=self.total - first, unit="steps") as bar:
            for epoch in range(first // per_epoch, self.config.epochs):
                begin = self.done - epoch * per_epoch
                for batches in self.source.batches(epoch=epoch, start=begin):
                    self._step(self.done, batches)
                    due = self.done % LOSS_EVERY == 0 or self.done == self.total
                    if due or stop_requested():
                        bar.advance(self.done - shown, loss=self.loss)
                        shown = self.done
                    check()
                    if time.monotonic() - saved >= self.checkpoint_seconds:
                        self.save()
                        saved = time.monotonic()

    def _step(self, step: int, batches: Step) -> None:
        config = self.config
        self._seed(step)
        lr, momentum = one_cycle(step, self.total, config.lr)
        self.optimizer.zero_grad()
        # The value serves the reader alone: computing it in every step would cost a tenth of it.
        shown = (step + 1) % LOSS_EVERY == 0 or step + 1 == self.total
        losses = [self._backward(batch, value=shown) for batch in batches]
        if shown:
            self.loss = sum(losses)
            if not math.isfinite(self.loss):
                raise _DivergedError(
                    f"the loss is {self.loss} at step {step + 1} of {self.total}: lower lr "
                    f"({config.lr:g}) or radius ({batches[0].radius:g}) and train again"
                )
        with _interrupts_held():
            self.optimizer.step(lr=lr, momentum=momentum)
            self.done = step + 1

    def _backward(self, batch: TrainingBatch, *, value: bool) -> float:
        """Add the gradients of one batch; returns its loss where the ``value`` is wanted."""
        vectors_BD = self._perturbed(batch)
        positives_P = batch.positives.to(self.device, non_blocking=True)
        negatives_Q = batch.negatives
        if negatives_Q is not None:
            negatives_Q = negatives_Q.to(self.device, non_blocking=True)
        row_weights = batch.row_weights
        if row_weights is not None:
            row_weights = row_weights.to(self.device, non_blocking=True)
        bf16 = self.device.type == "cuda" and self.config.batch >= BF16_FROM_BATCH
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            logits_BN = self.network(vectors_BD, self.generator)
        torch.autograd.backward(
            sparse_bce(
                logits_BN,
                positives_P,
                negatives_Q,
                row_weights=row_weights,
            )
        )
        if not value:
            return math.nan
        return bce_value(logits_BN.detach(), positives_P, negatives_Q, row_weights=row_weights)

    def record(self, status: RunStatus, metrics: Mapping[str, float]) -> None:
        """Write the run's row."""
        row = run_row(
            self.run_id, self.start, checkpoint=self.checkpoint, status=status, metrics=metrics
        )
        self.store.record_run(row)

    def _card(self, metrics: dict[str, float]) -> AdapterCard:
        spread, energy = self._competition()
        versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
        return AdapterCard(
            run_id=self.run_id,
            config=self.config,
            encoder=self.store.encoder(self.start.encoder_id),
            shape=self.start.shape,
            label_keys=tuple(self.store.labels.keys),
            label_names=tuple(label.name for label in self.store.labels),
            mean_text_norm=self.start.mean_text_norm,
            radius=self.start.radius,
            image_radius=self.start.image_radius,
            table_versions=self.start.table_versions,
            library_versions={
                "python": platform.python_version(),
                "taistore": taistore.__version__,
                **versions,
            },
            metrics=metrics,
            created=self.start.created,
            logit_spread=spread,
            logit_energy=energy,
            weights_digest="",
        )


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let Ctrl-C wait for the block: weights and the number of their step change together."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append((number, frame))

    signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        # After SIGTERM within the block Ctrl-C ends the process at once: that handling stays.
        if signal.getsignal(signal.SIGINT) is hold:
            signal.signal(signal.SIGINT, handler)
    if held:
        handler(*held[0])
