"""``train --name``: a run that people gave a name, by which every command takes it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import taistore
from taistore.adapter.run_files.run_names import claimed
from taistore.errors import TrainingError
from taistore.project import Project
from taistore.store.store import Store
from taistore_cli.main import main
from tests.fakes import colour_image
from tests.killing import ROOT

TRAIN = ("train", "--task", "zsl", "--epochs", "1", "--quiet")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("names")
    project = taistore.create(folder / "store", labels=["cat", "dog"], encoder="packaged:lite0@64")
    project.generate_texts(20)
    (folder / "photos").mkdir()
    for colour in ("red", "blue"):
        colour_image(colour).save(folder / "photos" / f"{colour}.png")
    project.ingest_images(folder / "photos")
    return project


def said(project: Project, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, [*arguments, "--store", project.uri])
    assert result.exit_code == code, result.output
    return result.stdout + result.stderr


def test_every_command_takes_the_name(project: Project, tmp_path: Path) -> None:
    assert "run garden-1" in said(project, *TRAIN, "--name", "garden-1")
    assert "\ngarden-1  zsl, finished" in f"\n{said(project, 'runs')}"
    assert "run garden-1: zsl, finished" in said(project, "show")
    assert "finished already" in said(project, "train", "--resume", "garden-1")
    said(project, *TRAIN, "--name", "Garden_2.b", "--out", str(tmp_path / "run"))
    members = ("garden-1", "Garden_2.b")
    made = json.loads(said(project, "ensemble", *members, "--json"))
    assert project.run(made["run_id"]).config["members"] == list(members)
    assert "is part of the ensemble" in said(project, "runs", "rm", "garden-1", code=1)
    said(project, "runs", "rm", *members, made["run_id"])
    assert project.runs() == []
    said(project, *TRAIN, "--name", "garden-1")
    said(project, "runs", "rm", "garden-1")


@pytest.mark.parametrize(
    "name",
    ["", "latest", "a b", "../x", "-x", ".x", "a/b", "\u00e9", "x" * 65, "a\n", "x.part", "x.tmp"],
    ids=ascii,
)
def test_names_that_no_run_can_have(project: Project, name: str) -> None:
    before = list(Path(project.uri).iterdir())
    line = said(project, *TRAIN, f"--name={name}", code=1)
    assert line.startswith("taistore: a run cannot be called ")
    assert line.count("\n") == 1
    assert list(Path(project.uri).iterdir()) == before


def test_a_name_that_is_taken_in_whatever_case(project: Project) -> None:
    said(project, *TRAIN, "--name", "taken")
    folder = Path(project.uri) / "runs" / "taken"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("taken", "TAKEN"):
        line = said(project, *TRAIN, "--name", name, code=1)
        assert "a run 'taken' is in the store already: choose another name" in line
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    said(project, "runs", "rm", "taken")


def test_a_name_belongs_to_a_new_run(project: Project) -> None:
    line = said(project, "train", "--resume", "x", "--name", "y", code=2)
    assert "--name cannot change with --resume" in line


class Rivalled(Store):
    """A store into which another process records the run just before this one does."""

    def append(self, kind: str, rows: Any, *, encoder_id: str | None = None) -> int:
        if kind == "runs":
            super().append(kind, [{**row, "checkpoint": "runs/rival"} for row in rows])
        return super().append(kind, rows, encoder_id=encoder_id)


def test_who_comes_second_at_the_last_moment_has_written_nothing(
    project: Project, tmp_path: Path
) -> None:
    late = Project(Rivalled.open(project.uri))
    with pytest.raises(TrainingError, match="a run 'late' is in the store already"):
        late.train(task="zsl", epochs=1, name="late", out=tmp_path / "late")
    assert not (tmp_path / "late").exists()
    assert project.store.run("late").checkpoint == "runs/rival"
    project.store.forget_run("late")


def test_of_two_at_once_one_has_the_name(project: Project, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
    command = [sys.executable, "-m", "taistore_cli", *TRAIN, "--name", "both"]
    processes = [
        subprocess.Popen(
            [*command, "--out", str(tmp_path / str(number)), "--store", project.uri],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    told = [process.communicate()[1] for process in processes]
    assert sorted(process.returncode for process in processes) == [0, 1], told
    lost = [process.returncode for process in processes].index(1)
    assert "a run 'both' is in the store already" in told[lost]
    assert Path(project.run("both").folder) == tmp_path / str(1 - lost)
    assert not list((tmp_path / str(lost)).glob("*.safetensors"))
    said(project, "runs", "rm", "both")


_KILLED = """
import os, signal, sys, taistore
project = taistore.open(sys.argv[1])
project.train(task="zsl", epochs=1, name="killed", on_start=lambda _: os.kill(os.getpid(), 9))
"""


def test_a_run_that_was_killed_goes_on_by_its_name(project: Project) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, project.uri], check=False, env=environment
    )
    assert done.returncode == -signal.SIGKILL
    assert "is in the store already" in said(project, *TRAIN, "--name", "killed", code=1)
    assert "run killed (" in said(project, "train", "--resume", "killed", "--quiet")
    said(project, "runs", "rm", "killed")


def test_a_name_that_was_claimed_and_nothing_more_can_be_removed(project: Project) -> None:
    project.train(task="zsl", epochs=1, name="first")
    row = project.store.run("first")
    said(project, "runs", "rm", "first")
    project.store.append("runs", [{**row.to_table(), "status": "running"}])
    assert "no training state to resume" in said(project, "train", "--resume", "first", code=1)
    said(project, "runs", "rm", "first")
    said(project, *TRAIN, "--name", "first")
    said(project, "runs", "rm", "first")
    with pytest.raises(OSError, match="disk"), claimed(project.store, row):
        raise OSError("the disk is full")
    assert project.runs() == []
    project.store.append("runs", [row.to_table()])
    with pytest.raises(TrainingError, match="already"), claimed(project.store, row):
        pass
    said(project, "runs", "rm", "first")
