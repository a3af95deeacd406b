"""A training whose batches are copied ahead of their steps, and a training on a GPU."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taistore.adapter import loop
from taistore.adapter.adapter_job import BF16_FROM_BATCH
from taistore.adapter.config import TrainConfig
from taistore.adapter.data import Preparation
from taistore.adapter.loss import sparse_bce
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_lifecycle import RunResult
from taistore.adapter.steps import CombinationSource, Step
from taistore.adapter.train import resume, train
from taistore.errors import StoreError
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, add_images, prompt_vectors, text_store
from tests.adapter.watching import Bar, InterruptedTrainingError, showing, weights
from tests.slow_device import SlowDevice

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
N = 6
TEXTS = TrainConfig(hidden=16, epochs=3, batch=16, device="cpu")
SAMPLED = dataclasses.replace(TEXTS, sampled_labels=3)
MIXED = TrainConfig(task="pll", epochs=2, batch=16, image_batch=8, device="cpu")
SHIFTED = dataclasses.replace(MIXED, loss="partial-bce", shift="plain")
ALL = pytest.mark.parametrize(
    "config", [TEXTS, SAMPLED, MIXED, SHIFTED], ids=["texts", "sampled", "mixed", "shifted"]
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = text_store(tmp_path / "s", rows=203)
    add_images(store, count=60)
    add_images(store, count=20, complete=False, first=200)
    return store


def run(store: Store, config: TrainConfig, **options: Any) -> RunResult[TrainConfig]:
    return train(store, ENCODER_ID, config, prompts_ND=prompt_vectors(N), **options)


def copy_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SlowDevice(copy_s=0.001, inline=True)
    monkeypatch.setattr(loop, "copies_to", lambda _: device)


@ALL
def test_batches_that_are_copied_ahead_train_the_same_weights(
    store: Store, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(store, config)
    copy_slowly(monkeypatch)
    copied = run(store, config)
    assert weights(copied) == weights(plain)
    assert copied.metrics["loss"] == plain.metrics["loss"]
    # What was copied ahead of a stop was not learnt from.
    with pytest.raises(InterruptedTrainingError):
        run(store, config, progress=showing(Bar(20)))
    assert weights(resume(store, "latest")) == weights(plain)


def test_an_error_of_the_source_comes_at_its_step(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = CombinationSource.batches

    def failing(self: CombinationSource, *, epoch: int, start: int) -> Iterator[Step]:
        for number, step in enumerate(batches(self, epoch=epoch, start=start), start=start):
            if (epoch, number) == (1, 5):
                raise StoreError("the disk is gone")
            yield step

    monkeypatch.setattr(CombinationSource, "batches", failing)
    copy_slowly(monkeypatch)
    with pytest.raises(StoreError, match="the disk is gone"):
        run(store, TEXTS)
    monkeypatch.undo()
    bar = Bar()
    resume(store, "latest", progress=showing(bar))
    assert bar.done == 3 * 13 - (13 + 5)


def test_vectors_are_float16_until_they_are_shifted(store: Store) -> None:
    for config, kinds in (
        (dataclasses.replace(TEXTS, shift="none"), [torch.float16]),
        (dataclasses.replace(MIXED, shift="none"), [torch.float16, torch.float16]),
        (MIXED, [torch.float32, torch.float16]),
    ):
        data = Preparation.fresh(store, ENCODER_ID, config)
        radii: dict[str, Any] = {"radius": 1.0, "image_radius": 1.0}
        shift = None if config.shift == "none" else data.shift()
        source = data.source(data.texts(), data.images(), shift, **radii)
        step = next(source.batches(epoch=0, start=0))
        assert [batch.vectors.dtype for batch in step] == kinds


def assert_alike(one: RunResult[TrainConfig], other: RunResult[TrainConfig], most: float) -> None:
    vectors_ND = torch.from_numpy(10 * prompt_vectors(N))
    logits = [load_adapter(result.checkpoint).logits(vectors_ND) for result in (one, other)]
    np.testing.assert_allclose(logits[1], logits[0], rtol=most, atol=most)


# Noise and dropout are drawn otherwise on each device: without them a GPU learns the same.
STILL: dict[str, Any] = {"radius": "0", "dropout": 0.0}


@NEEDS_GPU
@ALL
def test_the_gpu_learns_what_the_cpu_learns(store: Store, config: TrainConfig) -> None:
    still = dataclasses.replace(config, **STILL)
    cpu, gpu = run(store, still), run(store, dataclasses.replace(still, device="cuda"))
    assert gpu.metrics["loss"] == pytest.approx(cpu.metrics["loss"], rel=1e-3)
    assert_alike(gpu, cpu, 1e-2)


@NEEDS_GPU
def test_large_batches_are_multiplied_in_bf16_on_the_gpu(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = set()

    def noted(logits_BN: torch.Tensor, *cells: Any, **options: Any) -> Any:
        kinds.add(logits_BN.dtype)
        return sparse_bce(logits_BN, *cells, **options)

    monkeypatch.setattr("taistore.adapter.adapter_job.sparse_bce", noted)
    still = dataclasses.replace(TEXTS, **STILL, batch=BF16_FROM_BATCH, network="paper")
    cpu = run(store, still)
    assert kinds == {torch.float32}
    kinds.clear()
    gpu = run(store, dataclasses.replace(still, device="cuda"))
    assert kinds == {torch.bfloat16}
    assert gpu.metrics["loss"] == pytest.approx(cpu.metrics["loss"], rel=2e-2)


@NEEDS_GPU
def test_a_training_on_the_gpu_resumes(store: Store) -> None:
    config = dataclasses.replace(MIXED, device="cuda")
    undisturbed = run(store, config)
    with pytest.raises(InterruptedTrainingError):
        run(store, config, progress=showing(Bar(20)))
    assert_alike(resume(store, "latest"), undisturbed, 1e-3)
