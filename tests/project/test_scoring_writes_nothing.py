"""Scoring and tagging leave the store as it is, but for rejects."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import taistore
from taistore.project import Project
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder, colour_image


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A small store of colours with three photos and a run."""
    taistore.register_encoder("colours", ColourEncoder)
    (tmp_path / "photos").mkdir()
    for name in ("red", "green", "blue"):
        colour_image(name, "white").save(tmp_path / "photos" / f"{name}.png")
    made = taistore.create(tmp_path / "store", labels=list(COLOURS), encoder="colours")
    made.generate_texts(200)
    made.ingest_images(tmp_path / "photos")
    made.train(epochs=1)
    return made


def files(project: Project) -> dict[str, int]:
    """Every file of the store and when it was written: a new version of a table adds some."""
    root = Path(project.uri)
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file()
    }


def score(project: Project, out: Path, *arguments: str | Path) -> dict[str, Any]:
    given = ["score", "latest", *map(str, arguments), "--out", str(out), "--regions", "2"]
    done = CliRunner().invoke(main, [*given, "--store", project.uri, "--json"])
    assert done.exit_code == 0, done.output
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def test_the_store_is_left_as_it_is(project: Project, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    before = files(project)
    score(project, tmp_path / "stored.csv", "--html", tmp_path / "stored.html")
    score(project, tmp_path / "photos.csv", photos, "--html", tmp_path / "photos.html")
    project.run().score(photos, out=tmp_path / "tags.parquet", layout="wide")
    assert project.run().tags(top_k=5).height == 3 * 5
    assert len(list(project.run().tag(sorted(photos.iterdir())))) == 3
    assert files(project) == before


def test_rejects_alone_are_kept(project: Project, tmp_path: Path) -> None:
    (tmp_path / "photos" / "bad.png").write_bytes(b"no")
    before = files(project)
    assert score(project, tmp_path / "tags.csv", tmp_path / "photos")["rejected"] == 1
    after = files(project)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed
    assert {Path(name).parts[0] for name in changed} == {"rejects.lance"}
