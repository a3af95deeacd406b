"""Packages that add an encoder, an image source and a text writer: installed, then used."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
COLOURS = {"red": (220, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 220)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three packages installed, as pip installs them."""
    folder = tmp_path_factory.mktemp("plugins")
    packages = [str(HERE / name) for name in ("encoder_package", "source_package", "haiku_writer")]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), *packages]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def taistore(*arguments: str, plugins: Path, store: Path) -> dict[str, Any]:
    """Run a command in a process of its own, which finds the packages by their entry points."""
    path = os.pathsep.join([str(plugins), str(ROOT), str(ROOT / "cli")])
    done = subprocess.run(
        [sys.executable, "-m", "taistore_cli", *arguments, "--store", str(store), "--json"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_whole_job_with_all_three(installed: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(photos / f"{name}.png")
        (photos / f"{name}.txt").write_text(f"{name}\n", encoding="utf-8")
    Image.new("RGB", (40, 30)).save(photos / "odd.png")
    (photos / "odd.txt").write_text("unheard of\n", encoding="utf-8")
    (tmp_path / "labels.txt").write_text("\n".join(COLOURS), encoding="utf-8")

    def run(*arguments: str) -> dict[str, Any]:
        return taistore(*arguments, plugins=installed, store=tmp_path / "store")

    made = run("init", str(tmp_path / "labels.txt"), "--encoder", "mean-colour:8")
    assert made["encoder"] == "mean-colour:8"
    assert made["encoder_id"] == "mean_colour_8"
    texts = run("generate-texts", "--writer", "haiku", "--count", "40")
    assert texts["written"] >= 7
    ingested = run("ingest-images", str(photos), "--format", "sidecars", "--regions", "2")
    assert (ingested["added"], ingested["rejected"]) == (3, 1)
    trained = run("train", "--task", "zsl", "--epochs", "2")["run_id"]
    ladder = run("evaluate", trained)["ladder"]
    assert ladder["zero_shot"]["mAP"] == 100
    tags = tmp_path / "tags.jsonl"
    run("score", trained, str(photos), "--out", str(tags), "--top-k", "1")
    best = [json.loads(line) for line in tags.read_text(encoding="utf-8").splitlines()]
    assert {Path(row["uri"]).stem: row["label_name"] for row in best}.items() >= {
        (name, name) for name in COLOURS
    }
    kept = run("show")
    assert kept["tables"]["texts"] == texts["written"]
    assert kept["encoders"][0]["spec"] == "mean-colour:8"


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    package = tmp_path / "broken"
    package.mkdir()
    (package / "taistore_broken.py").write_text("import not_there\n", encoding="utf-8")
    (package / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "taistore-broken"\nversion = "1"\n'
        '[project.entry-points."taistore.encoders"]\nbroken = "taistore_broken:load"\n'
        '[tool.hatch.build.targets.wheel]\nonly-include = ["taistore_broken.py"]\n',
        encoding="utf-8",
    )
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, str(tmp_path / "site"), str(package)],
        check=True,
        capture_output=True,
    )
    (tmp_path / "labels.txt").write_text("red\n", encoding="utf-8")
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), str(ROOT / "cli")])
    arguments = ["init", str(tmp_path / "labels.txt"), "--encoder", "broken"]
    done = subprocess.run(
        [sys.executable, "-m", "taistore_cli", *arguments, "--store", str(tmp_path / "store")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "'broken' of taistore.encoders, from the package taistore-broken" in done.stderr
    assert done.stderr.splitlines()[:-1] == ["loading encoder broken"]
    assert not (tmp_path / "store").exists()
