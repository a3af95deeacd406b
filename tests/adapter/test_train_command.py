"""``taistore train --resume`` at the command line, on runs that were made without an encoder."""

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taistore.adapter.config import TrainConfig
from taistore.adapter.loop import TrainingJob
from taistore.adapter.steps import Step
from taistore.adapter.train import RunResult, train
from taistore.store.store import Store
from taistore_cli.main import main
from tests.adapter.stores import ENCODER_ID, prompt_vectors, text_store

CONFIG = TrainConfig(epochs=2, batch=16)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return text_store(tmp_path / "store", rows=50)


def make(store: Store) -> RunResult:
    return train(store, ENCODER_ID, CONFIG, prompts_ND=prompt_vectors(6))


def resumed(store: Store, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["train", "--store", store.uri, "--resume", *arguments])


def interrupt_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    step = TrainingJob._step

    def interrupted(self: TrainingJob, at: int, batches: Step) -> None:
        if at == number:
            raise KeyboardInterrupt
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
    with monkeypatch.context() as patched:
        interrupt_at(patched, 3)
        with pytest.raises(KeyboardInterrupt):
            make(store)
        interrupt_at(patched, 5)
        result = resumed(store, "latest")
    run_id = store.runs()[-1].run_id
    assert result.exit_code == 130
    lines = result.stderr.splitlines()
    assert lines[0] == f"run {run_id}"
    assert f"stopped; to go on: taistore train --resume {run_id}" in lines
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
