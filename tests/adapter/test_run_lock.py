"""One process writes a run; whether one does is told by its lock, not by its row."""

import dataclasses
import json
import os
import platform
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taistore.adapter.run_files.file_names import STATE
from taistore.adapter.run_files.lock_state import LOCK, is_held
from taistore.adapter.run_files.run_folder import folder_of
from taistore.adapter.run_files.run_lock import liveness, written_alone
from taistore.adapter.train import resume
from taistore.errors import TrainingError
from taistore.project import Project
from taistore.store.store import Store
from tests.adapter.stores import text_store
from tests.adapter.test_train import run
from tests.adapter.watching import weights

HERE = platform.node()
LIVE = """
import sys
from taistore.adapter import loop
from taistore.adapter.train import resume, train
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, prompt_vectors
from tests.adapter.test_train import CONFIG
from tests.killing import step

original = loop.TrainingLoop._step
def stepping(self, number, batch):
    step()
    original(self, number, batch)
loop.TrainingLoop._step = stepping
store = Store.open(sys.argv[1])
train(store, ENCODER_ID, CONFIG, prompts_ND=prompt_vectors(6), checkpoint_seconds=0)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return text_store(tmp_path / "s", rows=400)


class Live:
    """A training in a process of its own, waiting before its fourth step."""

    def __init__(self, store: Store) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LIVE, store.uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"...")
        self.process.stdin.flush()
        assert self.process.stdout.read(4) == b"...."

    def __enter__(self) -> "Live":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def test_a_live_training_is_left_alone_and_a_dead_one_is_stopped(store: Store) -> None:
    undisturbed = run(store)
    project = Project(store)
    with Live(store) as live:
        row = store.runs()[-1]
        before = {p.name: p.stat().st_mtime_ns for p in folder_of(store, row).iterdir()}
        for wanted in ("latest", row.run_id):
            with pytest.raises(TrainingError) as caught:
                resume(store, wanted)
            assert str(caught.value) == (
                f"run {row.run_id} is being trained (process {live.process.pid} on host {HERE}): "
                "wait for it or stop it"
            )
        assert {p.name: p.stat().st_mtime_ns for p in folder_of(store, row).iterdir()} == before
        assert str(liveness(store, row)) == "running"
        assert project.run(row.run_id).status == "running"
        live.process.send_signal(signal.SIGKILL)
        live.process.wait()
    assert store.run(row.run_id).status == "running"
    found = project.run(row.run_id)
    assert found.status == found.to_json()["status"] == "stopped"
    assert "stopped, last seen 2" in repr(found)
    # The lock's file is still there, and holds nobody up.
    assert (folder_of(store, row) / LOCK).is_file()
    assert weights(resume(store, row.run_id)) == weights(undisturbed)
    assert not (folder_of(store, row) / LOCK).exists()
    assert project.run(row.run_id).status == "finished"


def test_latest_says_which_run_is_taken(store: Store) -> None:
    notes: list[str] = []
    project = Project(store, note=notes.append)
    with pytest.raises(Exception, match="no run 'latest'"):
        project.run("latest")
    done = run(store)
    assert project.run("latest").run_id == done.run_id
    assert notes == []
    row = dataclasses.replace(
        store.run(done.run_id), run_id="zsl-new", status="stopped", created=datetime.now(UTC)
    )
    store.record_run(row)
    assert project.run("latest").run_id == done.run_id
    (note,) = notes
    assert note.startswith(f"latest: taking {done.run_id}, the last that is finished; zsl-new is ")
    store.forget_run(done.run_id)
    with pytest.raises(Exception, match="no run is finished, zsl-new is stopped") as caught:
        project.run("latest")
    assert str(caught.value).endswith("go on with it by 'taistore train --resume zsl-new'")


def test_two_trainings_of_one_folder(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with written_alone(out, "first"), pytest.raises(TrainingError, match="run first is being tr"):
        run(store, out=out)
    assert not out.exists()
    run(store, out=out)
    with pytest.raises(TrainingError, match="a run is here already"):
        run(store, out=out)


def test_looking_changes_nothing_and_keeps_nobody_out(tmp_path: Path) -> None:
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with written_alone(tmp_path, "r"):
        (tmp_path / LOCK).chmod(0o444)
        assert is_held(tmp_path)
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_a_training_on_another_host_is_waited_for(store: Store) -> None:
    with Live(store) as live:
        live.process.kill()
        live.process.wait()
    row = store.runs()[-1]
    folder = folder_of(store, row)
    owner = {**json.loads((folder / LOCK).read_text("utf-8")), "host": "elsewhere"}
    (folder / LOCK).write_text(json.dumps(owner), encoding="utf-8")
    found = Project(store).run(row.run_id)
    seen = datetime.fromtimestamp((folder / STATE).stat().st_mtime, UTC)
    assert str(found.liveness) == f"unknown, last seen {seen:%F %R} on elsewhere"
    # However often it is tried: what names the owner outlives a refusal.
    for _ in range(2):
        with pytest.raises(TrainingError, match=f"run {row.run_id} was trained on host elsewhere"):
            resume(store, row.run_id)
        assert not is_held(folder)
    assert json.loads((folder / LOCK).read_text("utf-8")) == owner
    long_ago = seen.timestamp() - 3600
    os.utime(folder / STATE, (long_ago, long_ago))
    assert resume(store, row.run_id).run_id == row.run_id
