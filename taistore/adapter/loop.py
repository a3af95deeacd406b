"""A training from a step to its end, whatever is trained: checkpoints, signals, the run's row.

Every random draw of a step comes from a generator seeded by the run's seed and the step's number,
so that a step is the same whatever went before it.
"""

import contextlib
import importlib.metadata
import math
import platform
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

import taistore
from taistore.adapter.freed_memory import give_back
from taistore.adapter.run_files.run_folder import keep_folder, run_row
from taistore.adapter.run_files.run_start import Started
from taistore.adapter.run_files.training_state import Position, StepOptimizer, save_state
from taistore.devices.ahead import ahead
from taistore.devices.copies import copies_to
from taistore.errors import StoreError, TrainingError
from taistore.progress import Progress
from taistore.stopping import StopRequested, check, held, stop_requested
from taistore.store.run_rows import RunRow, RunStatus
from taistore.store.store import Store

LOSS_EVERY = 20
_LIBRARIES = ("torch", "numpy", "lancedb", "pylance", "safetensors")

StartT = TypeVar("StartT", bound=Started)
NetworkT = TypeVar("NetworkT", bound=nn.Module)
BatchT = TypeVar("BatchT")
BatchT_co = TypeVar("BatchT_co", covariant=True)


class DivergedError(TrainingError):
    """The loss is not finite, so that the weights are not worth keeping."""


class BatchSource(Protocol[BatchT_co]):
    """Batches to learn from, the same for the same seed."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every epoch: a step takes one."""
        ...

    def batches(self, *, epoch: int, start: int) -> Iterator[BatchT_co]:
        """Batches of an epoch from ``start`` on, on the CPU."""
        ...


@dataclass(kw_only=True)
class TrainingLoop(ABC, Generic[StartT, NetworkT, BatchT]):
    """One training from a step to its end; ``run`` is called once.

    ``start`` is what it began with, from which it can begin again at any step. ``optimizer`` moves
    the weights of ``network`` by the batches of ``source``: what is trained says what a step does
    and what is written in the end.
    """

    store: Store
    run_id: str
    folder: Path
    checkpoint: str
    start: StartT
    network: NetworkT
    source: BatchSource[BatchT]
    optimizer: StepOptimizer = field(init=False)
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        self.loss = math.nan
        self.done = 0
        self.generator = torch.Generator(self.device)

    @abstractmethod
    def learn(self, step: int, batch: BatchT, *, value: bool) -> float:
        """Compute the gradients of a step; returns its loss where the ``value`` is wanted."""

    @abstractmethod
    def move(self, step: int) -> None:
        """Move the weights by the gradients."""

    @abstractmethod
    def finish(self, metrics: dict[str, float]) -> None:
        """Write the files of the finished run."""

    @abstractmethod
    def advice(self, batch: BatchT) -> str:
        """What to lower where the loss of this batch is not finite."""

    @property
    def total(self) -> int:
        """Steps of the whole training."""
        return self.start.config.epochs * self.source.batches_per_epoch

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        return next(self.network.parameters()).device

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
            self.finish(metrics)
            keep_folder(self.store, self.checkpoint, self.folder)
            self.record("finished", metrics)
        except DivergedError:
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

    def seed(self, step: int) -> None:
        """Seed the generator for a step."""
        seed = np.random.SeedSequence([self.start.config.seed, step]).generate_state(1)[0]
        self.generator.manual_seed(int(seed))

    def _train(self, first: int, progress: Progress) -> None:
        self.network.train()
        per_epoch = self.source.batches_per_epoch
        shown, saved = first, time.monotonic()
        with progress("train", total=self.total - first, unit="steps") as bar:
            for epoch in range(first // per_epoch, self.start.config.epochs):
                begin = self.done - epoch * per_epoch
                batches = self.source.batches(epoch=epoch, start=begin)
                for batch in ahead(batches, copies_to(self.device)):
                    self._step(self.done, batch)
                    due = self.done % LOSS_EVERY == 0 or self.done == self.total
                    if due or stop_requested():
                        bar.advance(self.done - shown, loss=self.loss)
                        shown = self.done
                    check()
                    if time.monotonic() - saved >= self.checkpoint_seconds:
                        self.save()
                        saved = time.monotonic()

    def _step(self, step: int, batch: BatchT) -> None:
        self.seed(step)
        self.optimizer.zero_grad()
        # The value serves the reader alone: computing it in every step would cost a tenth of it.
        shown = (step + 1) % LOSS_EVERY == 0 or step + 1 == self.total
        loss = self.learn(step, batch, value=shown)
        if shown:
            self.loss = loss
            if not math.isfinite(self.loss):
                raise DivergedError(
                    f"the loss is {self.loss} at step {step + 1} of {self.total}: lower "
                    f"{self.advice(batch)} and train again"
                )
        with _interrupts_held():
            self.move(step)
            self.done = step + 1

    def record(self, status: RunStatus, metrics: Mapping[str, float]) -> None:
        """Write the run's row."""
        self.store.record_run(self.row(status, metrics))

    def row(self, status: RunStatus, metrics: Mapping[str, float]) -> RunRow:
        """The run's row."""
        return run_row(
            self.run_id, self.start, checkpoint=self.checkpoint, status=status, metrics=metrics
        )


def library_versions() -> dict[str, str]:
    """Versions of what a training rests on, for its card."""
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    ours = {"python": platform.python_version(), "taistore": taistore.__version__}
    return {**ours, **versions}


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
