"""``taistore ingest-images`` on the layouts of data sets: what it takes, says and refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from taistore_cli.main import main
from tests.cli.test_bad_input import ENCODER
from tests.images.datasets import coco_text, openimages_text, photo, voc_folder, voc_list


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "labels.csv").write_text("key,name\nred,red\n/m/g,green\nblue,blue\n")
    labels = str(folder / "labels.csv")
    arguments = ["init", labels, "--encoder", ENCODER, "--store", str(folder / "s")]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    return folder / "s"


def _ingest(store: Path, *arguments: str | Path) -> dict[str, Any]:
    command = ["ingest-images", *map(str, arguments), "--store", str(store), "--json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.stderr
    summary: dict[str, Any] = json.loads(result.stdout)
    return summary


def _refused(store: Path, *arguments: str | Path) -> str:
    command = ["ingest-images", *map(str, arguments), "--store", str(store), "--quiet"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1, result.output
    (line,) = [x for x in result.stderr.splitlines() if not x.startswith("loading encoder")]
    return line


def test_coco_with_its_photos_elsewhere(tmp_path: Path, store: Path) -> None:
    photo(tmp_path / "photos" / "a.jpg", "red", "blue")
    photo(tmp_path / "photos" / "b.jpg", "green")
    entries = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "gone.jpg"}]
    boxes = [{"image_id": 1, "category_id": 1}, {"image_id": 1, "category_id": 3, "iscrowd": 1}]
    path = tmp_path / "instances_val2014.json"
    path.write_text(coco_text(entries, boxes, ["red", "green", "zebra"]))
    assert "name their folder with --images" in _refused(store, path)
    arguments = (path, "--images", tmp_path / "photos", "--split", "val")
    summary = _ingest(store, *arguments, "--crowd", "ignore")
    assert (summary["added"], summary["rejected"]) == (2, 1)
    assert any("left out: zebra" in note for note in summary["notes"])
    assert _ingest(store, *arguments, "--crowd", "ignore")["already_there"] == 2
    # Crowds counted, the label is there: the same photo with other labels.
    assert _ingest(store, *arguments)["relabelled"] == 1


def test_notes_are_lines_on_stderr(tmp_path: Path, store: Path) -> None:
    photo(tmp_path / "images" / "a.jpg", "blue", "green")
    path = tmp_path / "rows.csv"
    path.write_text(openimages_text([("a", "/m/g", "1"), ("a", "/m/other", "1")]))
    command = ["ingest-images", str(path), "--store", str(store), "--quiet"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.stderr
    assert f"{path}: 1 of 2 rows have a label outside the set" in result.stderr
    assert "outside the set" not in result.stdout


def test_voc_takes_the_split_that_is_named(tmp_path: Path, store: Path) -> None:
    folder = voc_folder(tmp_path, {"1": [("red", 1)], "2": [("blue", 0)], "3": [("green", 0)]})
    voc_list(folder, "trainval", ["1", "2"])
    summary = _ingest(store, folder, "--split", "trainval", "--difficult", "negative")
    assert summary["seen"] == 2
    assert "use --split with one of trainval" in _refused(store, folder, "--split", "val")
    assert "--crowd is for coco" in _refused(store, folder, "--crowd", "ignore")


def test_what_is_unclear_names_the_option(tmp_path: Path, store: Path) -> None:
    voc_folder(tmp_path, {"1": [("red", 0)]})
    assert "--format voc" in _refused(store, tmp_path / "VOCdevkit")
    assert _ingest(store, tmp_path / "VOCdevkit", "--format", "voc")["seen"] == 1
    (tmp_path / "a.json").write_text('{"images": [')
    assert "cut off or broken before byte" in _refused(store, tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{}")
    assert "not COCO's" in _refused(store, tmp_path / "a.json")


def test_the_choices_are_those_of_the_library() -> None:
    from taistore.images.sources.open_source import FORMATS

    text = CliRunner().invoke(main, ["ingest-images", "--help"]).output
    assert all(layout in text for layout in FORMATS)
    for example in ("instances_train2017.json", "VOCdevkit/VOC2007", "NUS-WIDE/", "imagelabels"):
        assert example in text
