"""``--out -``: JSON lines on stdout and nothing else there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import taistore
from tests.fakes import COLOURS, colour_image
from tests.killing import ROOT

NAMES = list(COLOURS)[:6]
SCORE = ("score", "latest", "photos")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
LOADING = "loading encoder packaged:lite0@64\n"
TAG = ("tag", "photos", "--labels", "labels.txt")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, labels and a store that has a run."""
    folder = tmp_path_factory.mktemp("stdout")
    (folder / "photos").mkdir()
    for number, name in enumerate(NAMES):
        colour_image(name, size=(40 + number, 30)).save(folder / "photos" / f"{number}.png")
    (folder / "labels.txt").write_text("\n".join(NAMES), encoding="utf-8")
    project = taistore.create(folder / "store", labels=NAMES, encoder="packaged:lite0@64")
    project.generate_texts(30)
    project.train(task="zsl", epochs=1)
    return folder


def ran(here: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "taistore_cli", *arguments, "--store", "store"],
        cwd=here,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", [SCORE, TAG], ids=["score", "tag"])
def test_stdout_has_the_lines_of_the_file(here: Path, command: tuple[str, ...]) -> None:
    before = set(here.iterdir())
    streamed = ran(here, *command, "--top-k", "5", "--out", "-")
    assert streamed.returncode == 0, streamed.stderr
    rows = [json.loads(line) for line in streamed.stdout.splitlines()]
    assert set(here.iterdir()) == before
    assert f"-: {len(rows)} tags for 6 images by " in streamed.stderr
    ran(here, *command, "--top-k", "5", "--out", f"{command[0]}.jsonl")
    file = (here / f"{command[0]}.jsonl").read_text(encoding="utf-8")
    assert sorted(streamed.stdout.splitlines()) == sorted(file.splitlines())
    assert len(rows) == 30
    quiet = ran(here, *command, "--out", "-", "--quiet", "--layout", "wide")
    assert quiet.stderr in ("", LOADING)
    assert [*json.loads(quiet.stdout.splitlines()[0])] == ["image_id", "uri", *NAMES]


@pytest.mark.parametrize("command", [SCORE, TAG], ids=["score", "tag"])
@pytest.mark.parametrize(
    ("given", "said"),
    [("--json", "leave out --json"), ("--html=page.html", "give --out a file")],
    ids=["json", "html"],
)
def test_what_does_not_go_with_it_is_refused(
    here: Path, command: tuple[str, ...], given: str, said: str
) -> None:
    refused = ran(here, *command, "--out", "-", given)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr.splitlines()[0]


def test_a_reader_that_leaves_is_no_error(here: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        left = subprocess.run(
            [
                *(sys.executable, "-m", "taistore_cli", *SCORE),
                *("--out", "-", "--quiet", "--store", "store"),
            ],
            cwd=here,
            env=ENVIRONMENT,
            stdout=write,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(write)
    assert left.stderr.decode() == LOADING
