"""What a path is taken for, and what has to be named."""

import json
from pathlib import Path
from typing import Any

import pytest

from taistore.errors import ImageError
from taistore.images.sources.detection import detect
from taistore.images.sources.open_source import (
    CocoSource,
    FolderSource,
    ManifestSource,
    NusWideSource,
    OpenImagesSource,
    VocSource,
    open_source,
)
from taistore.labels import Label, LabelSet
from tests.images.datasets import (
    coco_text,
    nuswide_list,
    openimages_text,
    photo,
    voc_folder,
    voc_xml,
)

LABELS = LabelSet([Label("red", "red")])


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_every_layout_is_told_by_its_structure(tmp_path: Path) -> None:
    voc = voc_folder(tmp_path, {"1": [("red", 0)]})
    nuswide_list(tmp_path / "nus", "Imagelist", ["a.jpg"])
    (tmp_path / "nus" / "Groundtruth").mkdir()
    photo(tmp_path / "photos" / "a.jpg", "red")
    coco = _write(tmp_path / "any name.JSON", coco_text([], []))
    rows = _write(tmp_path / "rows.csv", openimages_text([("a", "red", "1")]))
    manifest = _write(tmp_path / "m.csv", "image,labels\na.jpg,red\n")
    expected = [
        (voc, VocSource),
        (voc / "Annotations", VocSource),
        (tmp_path / "nus", NusWideSource),
        (tmp_path / "photos", FolderSource),
        (tmp_path / "photos" / "a.jpg", FolderSource),
        (coco, CocoSource),
        (rows, OpenImagesSource),
        (manifest, ManifestSource),
    ]
    assert [type(open_source(path, LABELS)) for path, _ in expected] == [k for _, k in expected]
    # A column "image" makes a manifest of it, whatever else is there.
    _write(manifest, "image,ImageID,LabelName\na.jpg,1,red\n")
    assert detect(manifest) == "manifest"
    assert detect(_write(tmp_path / "m.csv", '"image\n')) == "manifest"


def test_a_layout_that_is_named_is_not_guessed(tmp_path: Path) -> None:
    voc = voc_folder(tmp_path, {"1": [("red", 0)]})
    assert isinstance(open_source(voc, LABELS, layout="folder"), FolderSource)
    rows = _write(tmp_path / "rows.csv", openimages_text([("a", "red", "1")]))
    assert isinstance(open_source(rows, LABELS, layout="manifest"), ManifestSource)
    with pytest.raises(ImageError, match=r"a manifest is a file \.jsonl"):
        open_source(voc, LABELS, layout="manifest")
    with pytest.raises(ImageError, match="there is no layout=cooc of images: use auto, folder"):
        open_source(voc, LABELS, layout="cooc")


def test_what_could_be_meant_in_two_ways_names_the_option(tmp_path: Path) -> None:
    coco = tmp_path / "coco"
    photo(coco / "train2017" / "a.jpg", "red")
    _write(coco / "annotations" / "instances_train2017.json", "{}")
    with pytest.raises(ImageError, match=r"instances_train2017\.json: use layout=folder .*\.json"):
        detect(coco)
    voc_folder(tmp_path, {"1": [("red", 0)]})
    with pytest.raises(ImageError, match=r"VOC2007: use layout=folder .*layout=voc"):
        detect(tmp_path / "VOCdevkit")
    mixed = tmp_path / "mixed"
    photo(mixed / "a.jpg", "red")
    _write(mixed / "a.xml", "<x:xmpmeta/>")
    assert detect(mixed) == "folder"
    _write(mixed / "a.xml", voc_xml("a.jpg", []))
    with pytest.raises(ImageError, match=r"annotations such as a\.xml: use layout=folder"):
        detect(mixed)
    assert isinstance(open_source(mixed, LABELS, layout="voc", photos=mixed), VocSource)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "but not COCO's"),
        ('{"info": {"images": 3}}', "but not COCO's"),
        (json.dumps([{"image": "a.jpg"}]), r"save a manifest as \.jsonl"),
        ("{", r"broken JSON before byte \d"),
        ("", "broken JSON"),
        ("3", "but not COCO's"),
        ("{\xff", "broken JSON"),
    ],
)
def test_json_that_is_not_cocos(tmp_path: Path, text: str, message: str) -> None:
    path = _write(tmp_path / "a.json", text)
    with pytest.raises(ImageError, match=message) as caught:
        open_source(path, LABELS)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crowd": "ignore"}, "crowd= is for coco, and this was read as folder"),
        ({"difficult": "ignore"}, "difficult= is for voc, and this was read as folder"),
        ({"photos": "x"}, "photos= is for coco and voc and nuswide and openimages"),
    ],
)
def test_an_option_that_a_layout_does_not_have(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        open_source(tmp_path, LABELS, **options)
