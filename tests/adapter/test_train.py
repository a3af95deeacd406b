"""Whole trainings on a real store: they learn, repeat bit for bit and survive being killed."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from taistore.adapter import loop
from taistore.adapter.config import TrainConfig
from taistore.adapter.network import Network, Residual
from taistore.adapter.optimizer import AdamW
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_files.file_names import CARD, WEIGHTS
from taistore.adapter.run_files.run_folder import run_folder
from taistore.adapter.run_lifecycle import RunResult
from taistore.adapter.train import resume, train
from taistore.errors import EncoderError, StoreError, TrainingError
from taistore.progress import no_progress
from taistore.stopping import StopRequested, stop_on_signals
from taistore.store.store import Store
from taistore.store.stream import VectorStream
from tests.adapter.stores import ENCODER_ID, prompt_vectors, text_store
from tests.adapter.watching import Bar, InterruptedTrainingError, showing, weights

CONFIG = TrainConfig(hidden=16, epochs=4, batch=16, dropout=0.1)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return text_store(tmp_path / "store", rows=203)


def run(store: Store, config: TrainConfig = CONFIG, **changes: Any) -> RunResult[TrainConfig]:
    progress = changes.pop("progress", no_progress)
    return train(
        store, ENCODER_ID, config, prompts_ND=prompt_vectors(6), progress=progress, **changes
    )


@pytest.mark.parametrize("network", ["residual", "paper"])
def test_a_training_learns_its_labels(store: Store, network: Network) -> None:
    bar = Bar()
    config = TrainConfig(network=network, hidden=32, epochs=40, batch=16, lr=3e-3, radius="0.5x")
    result = run(store, config, progress=showing(bar))
    assert bar.done == 40 * 13
    assert bar.losses[-1] < bar.losses[0] / 2
    adapter = load_adapter(result.checkpoint)
    # A label's own prompt scores highest for that label.
    logits_NN = adapter.logits(torch.from_numpy(10 * prompt_vectors(6)))
    assert logits_NN.argmax(1).tolist() == list(range(6))


@pytest.mark.parametrize("hidden", [0, 16])
def test_the_residual_network_starts_from_zero_shot(store: Store, hidden: int) -> None:
    config = TrainConfig(hidden=hidden, epochs=4, batch=16, lr=1e-12)
    network = load_adapter(run(store, config).checkpoint).network
    assert isinstance(network, Residual)
    vectors_BD = torch.randn(9, 16)
    unit_BD = torch.nn.functional.normalize(vectors_BD, dim=1)
    cosine_BN = unit_BD @ torch.from_numpy(prompt_vectors(6)).T
    torch.testing.assert_close(
        network(vectors_BD), network.scale * cosine_BN + network.linear.bias, atol=1e-4, rtol=0
    )


def test_the_same_seed_gives_the_same_bits(store: Store) -> None:
    torch.manual_seed(1)
    first = run(store)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = run(store)
    assert first.run_id != second.run_id
    assert weights(first) == weights(second)
    assert first.metrics["loss"] == second.metrics["loss"]
    assert torch.equal(state, torch.get_rng_state()), "the caller's random state was touched"
    other = run(store, dataclasses.replace(CONFIG, seed=1))
    assert weights(other) != weights(first)


@pytest.mark.parametrize("stop_at", [20, 40, 52])
def test_resumed_equals_undisturbed(store: Store, stop_at: int) -> None:
    undisturbed = run(store)
    with pytest.raises(InterruptedTrainingError):
        run(store, progress=showing(Bar(stop_at)))
    killed = store.runs()[-1]
    assert killed.status == "running"
    bar = Bar()
    started: list[str] = []
    resumed = resume(store, "latest", progress=showing(bar), on_start=started.append)
    assert started == [killed.run_id]
    # No step was lost, nor done twice.
    assert bar.done == undisturbed.metrics["steps"] - stop_at
    assert resumed.run_id == killed.run_id
    assert weights(resumed) == weights(undisturbed)
    assert resumed.metrics["loss"] == undisturbed.metrics["loss"]
    assert store.run(resumed.run_id).status == "finished"


def test_resume_reads_the_versions_that_the_run_began_with(store: Store) -> None:
    undisturbed = run(store)
    with pytest.raises(InterruptedTrainingError):
        run(store, progress=showing(Bar(20)), checkpoint_seconds=0)
    rows = next(iter(store.scan("text_vectors", encoder_id=ENCODER_ID))).to_pylist()[:50]
    for i, row in enumerate(rows):
        row["text_id"] = f"f{i:031x}"
    store.append("text_vectors", rows, encoder_id=ENCODER_ID)
    resumed = resume(store, store.runs()[-1].run_id)
    assert weights(resumed) == weights(undisturbed)


def test_resuming_a_finished_run_returns_it(store: Store) -> None:
    done = run(store)
    row = store.run(done.run_id)
    store.record_run(
        dataclasses.replace(row, metrics={**row.metrics, "evaluation": {"test": {"mAP": 1}}})
    )
    assert resume(store, done.run_id) == dataclasses.replace(done, finished_before=True)


def test_latest_is_the_newest_unfinished_run(store: Store) -> None:
    started: list[str] = []
    for _ in range(2):
        with pytest.raises(InterruptedTrainingError):
            run(store, progress=showing(Bar(20)), on_start=started.append)
    run(store)
    assert resume(store, "latest").run_id == started[1]
    assert resume(store, "latest").run_id == started[0]
    with pytest.raises(TrainingError, match="no unfinished run to resume: train a new run"):
        resume(store, "latest")
    with pytest.raises(StoreError, match="no run 'zsl-none'"):
        resume(store, "zsl-none")


def test_a_device_given_with_resume_replaces_the_runs(store: Store) -> None:
    with pytest.raises(InterruptedTrainingError):
        run(store, progress=showing(Bar(20)))
    row = store.runs()[-1]
    store.record_run(dataclasses.replace(row, config={**row.config, "device": "cuda:99"}))
    with pytest.raises(EncoderError, match="device 'cuda:99' is not here"):
        resume(store, row.run_id)
    assert resume(store, row.run_id, device="cpu").metrics["steps"] == 52


def test_a_version_that_is_gone_asks_for_a_new_run(store: Store) -> None:
    with pytest.raises(InterruptedTrainingError):
        run(store, progress=showing(Bar(20)))
    store.append("text_vectors", [{**one_row(store), "text_id": "f" * 32}], encoder_id=ENCODER_ID)
    dataset = store.dataset("text_vectors", ENCODER_ID)
    dataset.optimize.compact_files()
    dataset.cleanup_old_versions(older_than=timedelta(0))
    with pytest.raises(TrainingError, match="is gone: train a new run") as caught:
        resume(store, "latest")
    assert "\n" not in str(caught.value)


def one_row(store: Store) -> dict[str, Any]:
    row: dict[str, Any] = next(store.scan("text_vectors", encoder_id=ENCODER_ID)).to_pylist()[0]
    return row


def test_one_label_and_one_text_train(tmp_path: Path) -> None:
    store = text_store(tmp_path / "one", rows=1, labels=1)
    result = train(store, ENCODER_ID, TrainConfig(), prompts_ND=prompt_vectors(1))
    adapter = load_adapter(result.checkpoint)
    assert math.isfinite(result.metrics["loss"])
    assert all(bool(weight.isfinite().all()) for weight in adapter.network.parameters())
    assert math.isfinite(adapter.card.logit_spread)
    assert math.isfinite(adapter.card.logit_energy)


def test_ctrl_c_within_a_step_loses_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = run(store)
    original = AdamW.step
    steps = 0

    def interrupted_once(self: AdamW, **options: float) -> None:
        nonlocal steps
        steps += 1
        if steps == 30:
            signal.raise_signal(signal.SIGINT)
        original(self, **options)

    monkeypatch.setattr(AdamW, "step", interrupted_once)
    # A shell starts background jobs with SIGINT ignored: the test says what Python does else.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(store)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert weights(resume(store, "latest")) == weights(undisturbed)
    assert steps == undisturbed.metrics["steps"]


def test_after_sigterm_within_a_step_ctrl_c_ends_the_process_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = AdamW.step
    saved = loop.TrainingLoop.save
    found: list[object] = []

    def terminated(self: AdamW, **options: float) -> None:
        signal.raise_signal(signal.SIGTERM)
        original(self, **options)

    def saving(self: loop.TrainingLoop[Any, Any, Any]) -> None:
        found.append(signal.getsignal(signal.SIGINT))
        saved(self)

    monkeypatch.setattr(AdamW, "step", terminated)
    monkeypatch.setattr(loop.TrainingLoop, "save", saving)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(StopRequested), stop_on_signals():
            run(store)
    finally:
        signal.signal(signal.SIGINT, before)
    # The run is saved as it begins, and once the signal is let through.
    assert found[-1] is signal.SIG_DFL


def test_a_killed_process_can_be_resumed(store: Store) -> None:
    undisturbed = run(store)
    program = f"""
import os, signal, sys
from pathlib import Path
from taistore.adapter.train import train
from taistore.adapter import loop
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, prompt_vectors
from tests.adapter.test_train import CONFIG

step = loop.TrainingLoop._step
def dying(self, number, batch):
    if number == 30:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, number, batch)
loop.TrainingLoop._step = dying
train(Store.open({store.uri!r}), ENCODER_ID, CONFIG, prompts_ND=prompt_vectors(6),
      checkpoint_seconds=0)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    killed = store.runs()[-1]
    assert killed.status == "running"
    assert weights(resume(store, killed.run_id)) == weights(undisturbed)


def test_the_run_is_recorded(store: Store) -> None:
    result = run(store)
    row = store.run(result.run_id)
    assert row.status == "finished"
    assert row.task == "zsl"
    assert row.config == CONFIG.settled_for(6).settled("none").to_json()
    assert row.metrics == result.metrics
    read = [("labels", None), ("combinations", None), ("text_vectors", ENCODER_ID)]
    assert row.table_versions == store.versions(read)
    assert row.checkpoint == f"runs/{result.run_id}"
    assert run_folder(store, result.run_id) == result.checkpoint
    # LanceDB ignores the folder of runs beside its tables.
    assert "runs" in Store.open(store.uri).table_names()


def test_out_names_the_folder(store: Store, tmp_path: Path) -> None:
    result = run(store, out=tmp_path / "mine")
    assert result.checkpoint == tmp_path / "mine"
    assert load_adapter(tmp_path / "mine").card.run_id == result.run_id
    assert run_folder(store, result.run_id) == tmp_path / "mine"
    with pytest.raises(TrainingError, match="a run is here already"):
        run(store, out=tmp_path / "mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"cannot be made.*another folder"):
        run(store, out=tmp_path / "file" / "run")


def test_a_large_table_trains_like_a_small_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small_buffer(*args: Any, **kwargs: Any) -> VectorStream:
        kwargs["batch_rows"] = kwargs.pop("batch")
        return VectorStream(*args, **kwargs, block_rows=8, buffer_rows=32)

    monkeypatch.setattr("taistore.adapter.data.text_stream", small_buffer)
    undisturbed = run(store)
    with pytest.raises(InterruptedTrainingError):
        run(store, progress=showing(Bar(20)), checkpoint_seconds=0)
    assert weights(resume(store, store.runs()[-1].run_id)) == weights(undisturbed)


def test_no_texts_names_the_command(tmp_path: Path) -> None:
    store = text_store(tmp_path / "store", rows=0)
    with pytest.raises(TrainingError, match="taistore generate-texts"):
        run(store)


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    vectors_MD = np.ones((30, 16))
    vectors_MD[3, 3] = np.inf
    with pytest.raises(StoreError, match="not finite"):
        run(text_store(tmp_path / "store", rows=30, vectors_MD=vectors_MD))
    zeros = text_store(tmp_path / "zeros", rows=30, vectors_MD=np.zeros((30, 16)))
    with pytest.raises(TrainingError, match="are zero"):
        run(zeros)


def test_a_diverging_loss_ends_the_run(store: Store) -> None:
    with pytest.raises(TrainingError, match="the loss is nan at step"):
        run(store, dataclasses.replace(CONFIG, network="paper", lr=1e38))
    assert store.runs()[-1].status == "failed"


def test_a_missing_gpu_is_named(store: Store) -> None:
    if torch.cuda.is_available():
        pytest.skip("has a GPU")
    with pytest.raises(EncoderError, match="device 'cuda' is not here"):
        run(store, dataclasses.replace(CONFIG, device="cuda"))


def test_prompts_of_another_shape_are_refused(store: Store) -> None:
    with pytest.raises(TrainingError, match=r"prompt vectors have the shape \[5, 16\]"):
        train(store, ENCODER_ID, CONFIG, prompts_ND=prompt_vectors(5))


@pytest.mark.parametrize("missing", [CARD, WEIGHTS])
def test_a_run_without_its_files_is_named(store: Store, missing: str) -> None:
    result = run(store)
    (result.checkpoint / missing).unlink()
    with pytest.raises(TrainingError, match="no trained adapter here"):
        load_adapter(result.checkpoint)


def test_a_run_that_was_never_trained_cannot_be_resumed(store: Store) -> None:
    row = store.run(run(store).run_id)
    store.record_run(
        dataclasses.replace(row, run_id="ensemble-1", task="ensemble", config={"members": []})
    )
    with pytest.raises(TrainingError, match="of the kind 'ensemble': it is never trained"):
        resume(store, "ensemble-1")
