"""``taistore train --resume`` at the command line, on runs that were made without an encoder."""

import dataclasses
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taistore.adapter.adapter_job import TrainingJob
from taistore.adapter.config import TrainConfig
from taistore.adapter.run_lifecycle import RunResult
from taistore.adapter.steps import Step
from taistore.adapter.train import train
from taistore.store.store import Store
from taistore_cli.main import main
from tests.adapter.stores import ENCODER_ID, prompt_vectors, text_store

CONFIG = TrainConfig(epochs=2, batch=16)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return text_store(tmp_path / "store", rows=50)


def make(store: Store) -> RunResult[TrainConfig]:
    return train(store, ENCODER_ID, CONFIG, prompts_ND=prompt_vectors(6))


def resumed(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", "--store", store.uri, "--resume", *arguments])


def interrupt_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    step = TrainingJob._step

    def interrupted(self: TrainingJob, at: int, batches: Step) -> None:
        if at == number:
            signal.raise_signal(signal.SIGINT)
        step(self, at, batches)

    monkeypatch.setattr(TrainingJob, "_step", interrupted)


def test_a_finished_and_evaluated_run_is_named_as_finished(store: Store) -> None:
    run_id = make(store).run_id
    row = store.run(run_id)
    store.record_run(dataclasses.replace(row, metrics={**row.metrics, "evaluation": {"test": {}}}))
    result = resumed(store, run_id)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"run {run_id} is finished already (loss ")


def test_an_interrupt_names_the_command_to_go_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A shell starts background jobs with SIGINT ignored: the test says what Python does else.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with monkeypatch.context() as patched:
        interrupt_at(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            make(store)
        result = resumed(store, "latest")
    signal.signal(signal.SIGINT, before)
    run_id = store.runs()[-1].run_id
    assert store.runs()[-1].status == "stopped"
    assert result.exit_code == 130
    assert result.stderr.splitlines() == [
        f"run {run_id}",
        # It went on with step 3, and ended that one: a signal waits for it.
        f"taistore: stopped by SIGINT after 1 of 5 steps: run {run_id} is saved; to go on: "
        f"taistore train --resume {run_id} --store {store.uri}",
    ]
    result = resumed(store, run_id, "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"run {run_id} (loss ")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--epochs", "3"),
        ("--lr", "0.1"),
        ("--radius", "2x"),
        ("--hidden", "8"),
        ("--batch", "8"),
        ("--where", "interior"),
        ("--out", "folder"),
        ("--encoder", "packaged"),
        ("--seed", "0"),
    ],
)
def test_settings_cannot_change_with_resume(tmp_path: Path, option: str, value: str) -> None:
    arguments = ["train", "--store", str(tmp_path), "--resume", "latest", option, value]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert f"{option} cannot change with --resume" in result.stderr
