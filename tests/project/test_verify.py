"""``Project.verify`` and ``taistore verify``: runs, their files, exit codes and words."""

import json
import os
import shutil
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import taistore
from taistore.project import Project
from taistore.store.run_rows import RunRow
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.store.damage import double, overwritten

AT_ONCE = timedelta(0)
TWO_HOURS_AGO = time.time() - 7200


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of colours with three photos, a run and an ensemble of it with another."""
    taistore.register_encoder("colours", ColourEncoder)
    at = tmp_path_factory.mktemp("verify")
    (at / "photos").mkdir()
    for name in ("red", "green", "blue"):
        colour_image(name, "white").save(at / "photos" / f"{name}.png")
    project = taistore.create(at / "store", labels=list(COLOURS), encoder="colours")
    project.generate_texts(100)
    project.ingest_images(at / "photos", regions=2)
    project.train(epochs=1)
    return at / "store"


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "store")
    return tmp_path / "store"


def _run(path: Path) -> RunRow:
    return taistore.open(path).store.run("latest")


def _folder(path: Path) -> Path:
    return path / _run(path).checkpoint


def _verify(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["verify", "--store", str(path), "--quiet", *arguments])


def test_what_the_jobs_make_is_sound(path: Path) -> None:
    found = Project.verify(path, repair=True, older_than=AT_ONCE)
    assert found.findings == ()
    assert found.tables["runs"] == 1
    result = _verify(path)
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("rows read, sound\n")
    assert json.loads(_verify(path, "--json").stdout)["sound"] is True


@pytest.mark.parametrize("name", ["adapter.safetensors", "prompts.safetensors", "card.json"])
@pytest.mark.parametrize("gone", [True, False])
def test_a_run_whose_files_are_not_those_of_its_card(path: Path, name: str, gone: bool) -> None:
    file = _folder(path) / name
    if gone:
        file.unlink()
    else:
        overwritten(file, start=file.stat().st_size // 2, value=b"\x01\x02\x03")
    [one] = Project.verify(path).findings
    assert (one.code, one.table) == ("damaged-run", _run(path).run_id)
    assert name in one.what


def test_versions_that_a_run_read_and_that_are_gone(path: Path) -> None:
    project = taistore.open(path)
    table = next(name for name in _run(path).table_versions if name.startswith("text_vectors__"))
    unfinished = replace(_run(path), status="running")
    project.store.record_run(replace(unfinished, run_id="a", table_versions={table: 99}))
    kind, _, encoder_id = table.partition("__")
    project.store.remove(kind, {"text_id": ["none"]}, encoder_id=encoder_id)
    lost = _first_version_gone(project, kind, encoder_id)
    project.store.record_run(replace(unfinished, run_id="b", table_versions={table: lost}))
    found = {one.table: one.code for one in Project.verify(path).findings}
    assert found == {"a": "lost-version", "b": "gone-version"}


def _first_version_gone(project: Project, kind: str, encoder_id: str) -> int:
    """Write a row, drop old versions, and return the number of the one that had been first."""
    rows = project.store.dataset(kind, encoder_id).to_table().slice(0, 1)
    ids = rows.column("text_id").to_pylist()
    project.store.remove(kind, {"text_id": ids}, encoder_id=encoder_id)
    project.store.append(kind, rows, encoder_id=encoder_id)
    project.optimize(keep_days=0)
    assert not project.store.has_version(kind, 1, encoder_id=encoder_id)
    return 1


def test_leftovers_of_killed_jobs_go_when_they_are_old(path: Path) -> None:
    left = [_folder(path) / name for name in ("known-labels.parquet.part", "t.html.tmp")]
    for file in left:
        file.write_bytes(b"x")
    stray = path / "runs" / "zsl-killed"
    stray.mkdir()
    assert Project.verify(path, repair=True).findings == ()
    for old in (*left, stray):
        os.utime(old, (TWO_HOURS_AGO, TWO_HOURS_AGO))
    told = Project.verify(path)
    assert [(one.code, one.repaired) for one in told.findings] == [("leftover", False)] * 2
    assert told.sound
    mended = Project.verify(path, repair=True)
    assert [(one.code, one.repaired) for one in mended.findings] == [("leftover", True)] * 2
    assert not any(old.exists() for old in (*left, stray))
    assert (_folder(path) / "adapter.safetensors").is_file()


def test_a_stray_folder_with_files_is_kept(path: Path) -> None:
    stray = path / "runs" / "zsl-killed"
    stray.mkdir()
    (stray / "training-state.safetensors").write_bytes(b"x")
    [one] = Project.verify(path, repair=True, older_than=AT_ONCE).findings
    assert (one.code, one.repaired) == ("leftover", False)
    assert stray.is_dir()


def test_the_command_exits_with_1_until_it_is_mended(path: Path) -> None:
    project = taistore.open(path)
    double(project.store, "texts")
    result = _verify(path)
    assert result.exit_code == 1
    assert "error [doubled-key] texts: 100 rows repeat" in result.stdout
    assert "--repair keeps the one of each key" in result.stdout
    assert "1 error" in result.stdout
    as_json = _verify(path, "--json")
    assert as_json.exit_code == 1
    assert json.loads(as_json.stdout)["findings"][0]["code"] == "doubled-key"
    mended = _verify(path, "--repair")
    assert mended.exit_code == 0
    assert "repaired [doubled-key] texts" in mended.stdout
    assert project.store.count("texts") == 100


def test_the_command_names_its_own_flags(path: Path) -> None:
    files = list((path / "images.lance" / "data").iterdir())
    for file in files:
        file.write_bytes(file.read_bytes()[:50])
    result = _verify(path)
    assert result.exit_code == 1
    assert "damaged-file" in result.stdout
    wrong = _verify(path, "--restore", "texts")
    assert wrong.exit_code == 1
    assert "leave out --restore texts" in wrong.stderr
    nothing = _verify(path / "absent")
    assert nothing.exit_code == 1
    assert "no taistore store here" in nothing.stderr
