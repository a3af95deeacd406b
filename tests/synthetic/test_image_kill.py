"""Jobs that are killed by SIGKILL, and jobs at once: the same rows, each of one picture."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taistore.store.store import Store
from taistore.synthetic.generate_images import generate_images
from tests.fakes import ColourEncoder
from tests.killing import ROOT, run_and_kill
from tests.synthetic.painting import (
    TABLES,
    Painter,
    captioned_store,
    everything,
    require_pairs,
    rows,
)

TEXTS, PER_TEXT = 40, 3
MODULE = "tests.synthetic.paint_me"


def _calm(store: Store, *, unstable: bool = False) -> None:
    writer = Painter(PER_TEXT, unstable=unstable)
    generate_images(store, ColourEncoder(), writer, regions=2)


def _keys(store: Store) -> list[set[str]]:
    return [set(rows(store, kind)) for kind in TABLES]


def _check(tmp_path: Path, kind: str, kills: int) -> None:
    made = captioned_store(tmp_path / "calm", TEXTS)
    shutil.copytree(tmp_path / "calm", tmp_path / "killed")
    _calm(made)
    killed = 0
    for number in range(kills):
        steps = (2, 3, 1, 4, 5, 2, 1, 3, 6, 4)[number]
        arguments = (str(tmp_path / "killed"), kind, "step")
        killed += run_and_kill(MODULE, *arguments, cwd=tmp_path, steps=steps, ahead=number % 3)
    assert killed == kills
    store = Store.open(tmp_path / "killed")
    there = len(rows(store, "synthetic_vectors"))
    assert 0 < there < TEXTS * PER_TEXT
    _calm(store, unstable=kind == "other")
    require_pairs(store)
    if kind == "same":
        assert everything(store) == everything(made)
    else:
        assert _keys(store) == _keys(made)


def test_killed_and_run_again_gives_the_same_rows(tmp_path: Path) -> None:
    _check(tmp_path, "same", 3)


def test_killed_and_drawn_anew_each_picture_is_one(tmp_path: Path) -> None:
    _check(tmp_path, "other", 3)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["same", "other"])
def test_killed_at_ten_moments(tmp_path: Path, kind: str) -> None:
    _check(tmp_path, kind, 10)


@pytest.mark.parametrize("kind", ["same", "other"])
def test_two_at_once_make_each_picture_once(tmp_path: Path, kind: str) -> None:
    made = captioned_store(tmp_path / "calm", TEXTS)
    shutil.copytree(tmp_path / "calm", tmp_path / "shared")
    _calm(made)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
    arguments = [sys.executable, "-m", MODULE, str(tmp_path / "shared"), kind, "run"]
    processes = [
        subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment, cwd=tmp_path)
        for _ in range(2)
    ]
    said = [process.communicate()[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    figures = [re.findall(r"drawn (\d+) written (\d+)", text)[0] for text in said]
    store = Store.open(tmp_path / "shared")
    require_pairs(store)
    if kind == "same":
        assert everything(store) == everything(made)
    else:
        assert _keys(store) == _keys(made)
    # They look before each block, so that they waste one or two at the places where they meet.
    drawn = sum(int(one) for one, _ in figures)
    assert drawn <= TEXTS * PER_TEXT * 1.5
