"""A signal during ``taistore export``: what the last line says is what is there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.exporting.tagged_folder import make_photos, tag_file
from tests.killing import ROOT

_SIGNALLED = """
import os, signal, sys
from taistore.exporting.tagged_photos import TaggedPhotos
from taistore_cli.main import main

photos = TaggedPhotos.__iter__
def stopped(self):
    for number, photo in enumerate(photos(self)):
        if number == 2:
            os.kill(os.getpid(), signal.SIGINT)
        yield photo
TaggedPhotos.__iter__ = stopped
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("to", "out", "said"),
    [
        ("xmp", [], "what is done is kept; to go on: taistore export"),
        ("xmp", ["--dry-run"], "nothing was kept; to run it again: taistore export"),
        ("coco", ["--out", "t.json"], "nothing was kept; to run it again: taistore export"),
        ("csv-wide", ["--out", "t.csv"], "nothing was kept; to run it again: taistore export"),
        ("imagefolder", ["--out", "t"], "nothing was kept; to run it again: taistore export"),
    ],
    ids=["sidecars", "dry run", "coco", "table", "folder"],
)
def test_the_last_line_is_true(tmp_path: Path, to: str, out: list[str], said: str) -> None:
    folder = make_photos(tmp_path / "photos", [f"{n}.jpg" for n in range(6)])
    tags = tag_file(tmp_path / "t.jsonl", folder, {f"{n}.jpg": [("dog", 0.9)] for n in range(6)})
    ran = subprocess.run(
        [sys.executable, "-c", _SIGNALLED, "export", str(tags), "--to", to, *out],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])},
    )
    assert ran.returncode == 128 + signal.SIGINT, ran.stderr
    assert said in ran.stderr.splitlines()[-1]
    before = {"photos", "t.jsonl", *(f"{n}.jpg" for n in range(6))}
    kept = {path.name for path in tmp_path.rglob("*")} - before
    assert kept == ({f"{n}.jpg.xmp" for n in range(3)} if "to go on" in said else set())
