"""Files of other tools, read back by these tools' own code where it is installed."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import taistore
from taistore.errors import ExportError
from taistore.exporting.formats.safe_names import class_names, folder_names, photo_names
from taistore.images.sources.published.coco import CocoSource
from taistore.images.sources.source import SourceImage
from taistore.labels import Label, LabelSet
from taistore.scoring.tags.read_tags import read_tags
from tests.exporting.tagged_folder import PHOTOS, contents, make_photos, tag_file
from tests.faults.hostile_names import names
from tests.killing import ROOT

TAGS = {
    "a/1.jpg": [("dog", 0.9), ("cat", 0.5)],
    "a/2.jpg": [("cat", 0.75)],
    "b/1.jpg": [("a/b: <c>", 0.5)],
}
OUT = {
    "coco": "t.json",
    "csv-wide": "t.csv",
    "label-studio": "t.json",
    "fiftyone": "t",
    "imagefolder": "t",
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos")


@pytest.fixture
def tags(photos: Path) -> Path:
    return tag_file(photos.parent / "tags.jsonl", photos, TAGS)


def export(tags: Path, to: str, **options: Any) -> Path:
    out = tags.with_name(OUT[to])
    taistore.export(tags, to=to, out=out, **options)  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize("to", sorted(OUT))
def test_an_export_is_not_replaced_unasked_and_touches_no_photo(
    to: str, tags: Path, photos: Path
) -> None:
    before = contents(photos)
    out = export(tags, to)
    made = contents(out) if out.is_dir() else {out.name: out.read_bytes()}
    with pytest.raises(ExportError, match="is there already: give overwrite="):
        export(tags, to)
    export(tags, to, overwrite=True)
    again = contents(out) if out.is_dir() else {out.name: out.read_bytes()}
    assert [*again] == [*made]
    assert contents(photos) == before
    left = {path.name for path in tags.parent.iterdir()}
    assert left <= {"photos", "tags.jsonl", "t", "t.csv", "t.json", "t.xml"}


@pytest.mark.parametrize("to", sorted(OUT))
def test_a_dry_run_writes_nothing(to: str, tags: Path) -> None:
    said = taistore.export(tags, to=to, out=tags.with_name(OUT[to]), dry_run=True)  # type: ignore[arg-type]
    assert (said.images, said.tags) == (3, 4)
    assert {path.name for path in tags.parent.iterdir()} == {"photos", "tags.jsonl"}


@pytest.mark.parametrize("to", sorted(OUT))
def test_without_any_tag_nothing_is_written(to: str, tags: Path) -> None:
    with pytest.raises(ExportError, match="no photo has a tag: lower threshold="):
        export(tags, to, threshold=0.95)


@pytest.mark.parametrize("to", ["fiftyone", "imagefolder"])
def test_a_folder_of_something_else_is_never_replaced(to: str, tags: Path) -> None:
    out = tags.with_name("t")
    out.mkdir()
    (out / "mine.txt").touch()
    with pytest.raises(ExportError, match=r"not of an export, such as mine\.txt"):
        export(tags, to, overwrite=True)
    (out / "mine.txt").unlink()
    export(tags, to)
    (out / "mine.txt").touch()
    with pytest.raises(ExportError, match=r"such as mine\.txt"):
        export(tags, to, overwrite=True)


def test_coco_has_every_photo_and_tag(tags: Path, photos: Path) -> None:
    told = json.loads(export(tags, "coco").read_text())
    assert [(i["file_name"], i["width"], i["height"]) for i in told["images"]] == [
        (name, 64, 48) for name in PHOTOS
    ]
    names = {each["id"]: each["name"] for each in told["categories"]}
    by_image: dict[int, dict[str, float]] = {}
    for each in told["annotations"]:
        by_image.setdefault(each["image_id"], {})[names[each["category_id"]]] = each["score"]
    assert [by_image[each["id"]] for each in told["images"]] == [dict(t) for t in TAGS.values()]
    assert len({each["id"] for each in told["annotations"]}) == 4


def test_coco_is_read_by_our_own_ingest(tags: Path, photos: Path) -> None:
    labels = LabelSet([Label(name, name) for name in ("cat", "a/b: <c>", "dog")])
    source = CocoSource(export(tags, "coco"), labels, photos=str(photos))
    found = [item for item in source if isinstance(item, SourceImage)]
    known = [item.annotation for item in found]
    assert [item.uri for item in found] == [str(photos / name) for name in TAGS]
    assert [{labels[n].name for n in said.positives} for said in known if said is not None] == [
        {name for name, _ in given} for given in TAGS.values()
    ]


def test_the_wide_table_reads_back_as_tags(tags: Path) -> None:
    out = export(tags, "csv-wide")
    with out.open(newline="") as file:
        assert next(csv.reader(file)) == ["image_id", "uri", "a/b: <c>", "cat", "dog"]
    key = ("uri", "label_name", "rank", "score")
    before = [tuple(row[name] for name in key) for row in read_tags(tags)]
    assert [tuple(row[name] for name in key) for row in read_tags(out)] == before


def test_class_folders_are_read_by_torchvision(tags: Path, photos: Path) -> None:
    from torchvision.datasets import ImageFolder

    out = export(tags, "imagefolder")
    found = ImageFolder(str(out))
    assert found.classes == ["a_b_ _c_", "cat", "dog"]
    shown = [(Path(path).resolve(), found.classes[n]) for path, n in found.samples]
    assert sorted(shown) == sorted(
        (photos / name, "a_b_ _c_" if label == "a/b: <c>" else label)
        for name, given in TAGS.items()
        for label, _ in given
    )
    assert found[0][0].size == (64, 48)
    assert all(Path(path).is_symlink() for path, _ in found.samples)
    export(tags, "imagefolder", overwrite=True, copy=True)
    copies = [Path(path) for path, _ in ImageFolder(str(out)).samples]
    assert not any(path.is_symlink() for path in copies)
    assert len(copies) == 4


def test_photos_that_are_gone_are_in_no_folder(tags: Path, photos: Path) -> None:
    (photos / "a/2.jpg").unlink()
    for to in ("imagefolder", "fiftyone"):
        found = taistore.export(tags, to=to, out=tags.with_name(to))
        assert [each.path for each in found.set_aside] == [str(photos / "a/2.jpg")]
        assert found.images == 2
    assert export(tags, "coco").is_file()


def test_names_of_folders_and_photos_are_safe_and_differ() -> None:
    labels = {str(n): name for n, name in enumerate([*names(), "", "Dog", "dog", "a/b", "a:b"])}
    safe = folder_names(labels)
    assert len({name.casefold() for name in safe.values()}) == len(labels)
    for name in safe.values():
        assert 0 < len(name.encode()) <= 140
        assert not set(name) & set('/\\:*?"<>|\0\n')
        assert name not in (".", "..", "con", "nul")
        assert name.strip(". ") == name
    assert len(set(class_names(labels).values())) == len(labels)
    uris = ["/x/a.jpg", "/y/A.JPG", "/z/b.jpg"]
    told = photo_names(uris)
    assert len({name.casefold() for name in told.values()}) == 3
    assert told["/z/b.jpg"] == "b.jpg"


def test_hostile_labels_are_written_in_every_format(tmp_path: Path, photos: Path) -> None:
    labels = [(name, 0.5) for name in names()]
    tags = tag_file(tmp_path / "tags.jsonl", photos, {"a/1.jpg": labels})
    for to in OUT:
        out = export(tags, to, overwrite=True)
        for path in [out] if out.is_file() else [*out.rglob("*.json")]:
            if path.suffix == ".json":
                json.loads(path.read_text())
    config = ElementTree.parse(tmp_path / "t.xml").getroot()
    choices = [each.get("value") for each in config.iter("Choice")]
    (task,) = json.loads(export(tags, "label-studio", overwrite=True).read_text())
    assert set(task["predictions"][0]["result"][0]["value"]["choices"]) == set(choices)


def test_two_exports_at_once_leave_a_whole_one(tags: Path) -> None:
    code = (
        "import sys, taistore; taistore.export(sys.argv[1], to=sys.argv[2], out=sys.argv[3], "
        "overwrite=True)"
    )
    for to in ("imagefolder", "coco"):
        out = tags.with_name(OUT[to])
        jobs = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tags), to, str(out)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            for _ in range(3)
        ]
        assert [job.wait() for job in jobs] == [0] * 3
    assert {path.name for path in tags.parent.iterdir()} == {
        *("photos", "tags.jsonl", "t", "t.json")
    }
    assert len(list((tags.with_name("t")).rglob("*.jpg"))) == 4


def test_what_a_killed_export_left_is_cleared_away(tags: Path) -> None:
    for name in ("t.part", "t.old"):
        folder = tags.with_name(name)
        folder.mkdir()
        (folder / ".taistore-export.json").write_text('{"files": []}')
        (folder / "half").touch()
    export(tags, "imagefolder")
    assert {p.name for p in tags.parent.iterdir()} == {"photos", "tags.jsonl", "t"}


# --- the tools' own code --------------------------------------------------------------------

FIFTYONE = """
import json, sys
from fiftyone.utils.data.importers import FiftyOneImageClassificationDatasetImporter as Importer
with Importer(dataset_dir=sys.argv[1], data_path="data.json") as importer:
    found = [
        [path, [[c.label, c.confidence, c.run] for c in label.classifications]]
        for path, _, label in importer
    ]
print(json.dumps(found))
"""


def tool(name: str, code: str, *arguments: str) -> Any:
    """What a program prints as JSON, run by the Python that TAISTORE_<NAME>_PYTHON names.

    These tools bring many packages of their own: they are tested in an environment of theirs.
    """
    python = os.environ.get(f"TAISTORE_{name}_PYTHON", "")
    if not python:
        pytest.skip(f"needs TAISTORE_{name}_PYTHON, a Python that has this tool")
    ran = subprocess.run(
        [python, "-c", code, *arguments], capture_output=True, check=False, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def test_fiftyones_own_importer_reads_the_folder(tags: Path, photos: Path) -> None:
    found = tool("FIFTYONE", FIFTYONE, str(export(tags, "fiftyone")))
    assert found == [
        [str(photos / name), [[label, score, "tags.jsonl"] for label, score in given]]
        for name, given in TAGS.items()
    ]


LABEL_STUDIO = """
import json, sys
from label_studio_sdk.label_interface import LabelInterface
tasks = json.load(open(sys.argv[1]))
interface = LabelInterface(open(sys.argv[2]).read())
interface.validate()
good = [interface.validate_task({"data": task["data"]}) for task in tasks]
good += [interface.validate_prediction(each) for task in tasks for each in task["predictions"]]
print(json.dumps(good))
"""


def test_label_studios_own_code_takes_tasks_and_configuration(tags: Path) -> None:
    out = export(tags, "label-studio")
    tasks = json.loads(out.read_text())
    assert [task["data"]["image"] for task in tasks] == [
        f"/data/local-files/?d={name}" for name in PHOTOS
    ]
    assert [task["predictions"][0]["model_version"] for task in tasks] == ["tags.jsonl"] * 3
    assert tasks[0]["predictions"][0]["score"] == pytest.approx(0.7)
    found = tool("LABEL_STUDIO", LABEL_STUDIO, str(out), str(out.with_suffix(".xml")))
    assert found == [True] * 6
