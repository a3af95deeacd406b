"""Pascal VOC: difficult objects, splits, classes that were looked for, and XML that is broken."""

import re
from pathlib import Path
from typing import Any

import pytest

from taistore.errors import ImageError, ManifestError
from taistore.images.sources.published.voc import VOC_CLASSES, VocSource
from taistore.images.sources.published.voc_xml import MAX_BYTES
from taistore.images.sources.source import Annotation
from taistore.labels import Label, LabelSet
from tests.images.datasets import known, photo, rejected, splits, voc_folder, voc_list, voc_xml

LABELS = LabelSet([Label("red", "red"), Label("green", "green"), Label("blue", "blue")])
RED, GREEN, BLUE = range(3)
OBJECTS = {
    "000001": [("red", 0), ("red", 1), ("green", 1)],
    "000002": [("blue", 0)],
    "000003": [("green", 0)],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return voc_folder(tmp_path, OBJECTS)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Annotation(positives=(RED,), negatives=(BLUE,), unknown=(GREEN,))),
        (
            {"difficult": "ignore"},
            Annotation(positives=(RED,), negatives=(BLUE,), unknown=(GREEN,)),
        ),
        ({"difficult": "negative"}, Annotation(positives=(RED,), complete=True)),
        ({"difficult": "positive"}, Annotation(positives=(RED, GREEN), complete=True)),
    ],
)
def test_difficult_objects(folder: Path, options: dict[str, Any], expected: Annotation) -> None:
    source = VocSource(folder, LABELS, **options)
    assert known(source) == {
        "000001.jpg": expected,
        "000002.jpg": Annotation(positives=(BLUE,), complete=True),
        "000003.jpg": Annotation(positives=(GREEN,), complete=True),
    }
    assert source.notes == ()
    assert source.count() == 3


def test_the_folder_may_be_named_at_three_levels(folder: Path) -> None:
    names = list(known(VocSource(folder, LABELS)))
    assert list(known(VocSource(folder / "Annotations", LABELS))) == names
    assert list(known(VocSource(folder.parent, LABELS))) == names
    (folder.parent / "VOC2012" / "Annotations").mkdir(parents=True)
    with pytest.raises(ImageError, match=r"several data sets \(VOC2007, VOC2012\)"):
        VocSource(folder.parent, LABELS)
    with pytest.raises(ImageError, match=r"holds no \.xml files"):
        VocSource(folder.parent / "VOC2012", LABELS)
    with pytest.raises(ImageError, match="no folder 'Annotations'"):
        VocSource(folder / "JPEGImages", LABELS)


def test_splits_come_from_the_lists(folder: Path) -> None:
    voc_list(folder, "trainval", ["000001", "000002"])
    voc_list(folder, "train", ["000001"])
    assert splits(VocSource(folder, LABELS)) == {
        "000001.jpg": "train",
        "000002.jpg": "trainval",
        "000003.jpg": None,
    }
    named = VocSource(folder, LABELS, split="trainval")
    assert splits(named) == {"000001.jpg": "trainval", "000002.jpg": "trainval"}
    assert named.count() == 2
    assert named.notes == ()


@pytest.mark.parametrize("split", ["test", "../Main/train", "/etc/passwd"])
def test_a_split_without_a_list_names_those_there(folder: Path, split: str) -> None:
    voc_list(folder, "train", ["000001"])
    voc_list(folder, "red_train", ["000001  1"])
    with pytest.raises(ManifestError, match=r"has no list .*use split= with one of train$"):
        list(VocSource(folder, LABELS, split=split))


def test_without_lists_a_split_is_every_images(folder: Path) -> None:
    assert set(splits(VocSource(folder, LABELS, split="val")).values()) == {"val"}


def test_lists_of_classes_say_what_was_looked_for(folder: Path) -> None:
    voc_list(folder, "red_train", ["000001  1"])
    voc_list(folder, "tv_monitor_train", ["000001 -1"])
    source = VocSource(folder, LABELS)
    # Nobody looked for green and blue in all images; where they are found, they are there.
    assert known(source) == {
        "000001.jpg": Annotation(positives=(RED,), unknown=(GREEN,)),
        "000002.jpg": Annotation(positives=(BLUE,), negatives=(RED,)),
        "000003.jpg": Annotation(positives=(GREEN,), negatives=(RED,)),
    }
    assert (
        "1 of its classes are not in the label set and were left out: tv_monitor"
        in (source.notes[0])
    )


def test_the_twenty_classes_are_looked_for_in_every_image(tmp_path: Path) -> None:
    folder = voc_folder(tmp_path, {})
    photo(folder / "JPEGImages" / "1.jpg", "red")
    (folder / "Annotations" / "1.xml").write_text(voc_xml("1.jpg", [("cat", 0)]))
    labels = LabelSet(Label(name, name) for name in VOC_CLASSES)
    assert known(VocSource(folder, labels)) == {
        "1.jpg": Annotation(positives=(VOC_CLASSES.index("cat"),), complete=True)
    }


def test_photos_that_are_gone_and_annotations_that_are(folder: Path) -> None:
    (folder / "JPEGImages" / "000001.jpg").unlink()
    (folder / "Annotations" / "000002.xml").unlink()
    photo(folder / "JPEGImages" / "extra.jpg", "blue")
    voc_list(folder, "test", ["000002"])
    source = VocSource(folder, LABELS)
    (reject,) = rejected(source)
    assert reject.uri == str(folder / "JPEGImages" / "000001.jpg")
    assert reject.reason == "missing"
    assert f"{folder / 'Annotations'} lists it" in reject.detail
    found = known(source)
    assert (found["000002.jpg"], found["extra.jpg"]) == (None, None)
    assert splits(source)["000002.jpg"] == "test"
    assert "2 images have no annotation in" in source.notes[0]


def test_a_photo_may_be_of_another_format_or_name(folder: Path) -> None:
    photos = folder / "JPEGImages"
    (photos / "000001.jpg").rename(photos / "000001.png")
    (photos / "000002.jpg").rename(photos / "other.jpg")
    xml = voc_xml("C:\\photos\\other.jpg", OBJECTS["000002"])
    (folder / "Annotations" / "000002.xml").write_text(xml)
    source = VocSource(folder, LABELS)
    assert list(known(source)) == ["000001.png", "other.jpg", "000003.jpg"]
    assert rejected(source) == []


def test_the_folder_of_photos(folder: Path, tmp_path: Path) -> None:
    (folder / "JPEGImages").rename(tmp_path / "elsewhere")
    with pytest.raises(ImageError, match=r"JPEGImages.*name their folder with photos="):
        VocSource(folder, LABELS)
    source = VocSource(folder, LABELS, photos=tmp_path / "elsewhere")
    assert len(known(source)) == 3
    with pytest.raises(ImageError, match="no such folder: check photos="):
        VocSource(folder, LABELS, photos=tmp_path / "none")


BOMB = (
    '<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotation><object><name>&b;</name></object></annotation>"
)
OUTSIDE = (
    '<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    "<annotation><object><name>&f;</name></object></annotation>"
)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        ("", "broken XML at line 1, byte 0: no element found"),
        (voc_xml("a", [("red", 0)])[:150], r"broken XML at line \d, byte [\d,]+"),
        ("<annotation>\n<object></annotation>", r"line 2, byte 2\d: mismatched tag"),
        ("<html></html>", "outermost element is <html>"),
        ("<annotation><object></object></annotation>", r"object 1 has no <name>"),
        (voc_xml("a", [("red", 0), ("red", 3)]), "object 2: <difficult> is '3'"),
        ("<annotation>\x00</annotation>", "broken XML"),
        ("<!DOCTYPE annotation><annotation/>", "declares a document type"),
        (BOMB, "declares a document type"),
        (OUTSIDE, "declares a document type"),
        (BOMB.encode("utf-16"), "declares a document type"),
        ("<annotation><object><name>&b;</name></object></annotation>", "undefined entity"),
        ('<?xml version="1.0" encoding="klingon"?><annotation/>', "XML"),
        (b"<annotation><object><name>\xff</name></object></annotation>", "not well-formed"),
        (b"<annotation>" + b" " * MAX_BYTES, "longer than"),
    ],
)
def test_broken_xml_is_set_aside_with_its_photo(
    folder: Path, xml: str | bytes, message: str
) -> None:
    path = folder / "Annotations" / "000002.xml"
    path.write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    source = VocSource(folder, LABELS)
    (reject,) = rejected(source)
    assert reject.uri == str(path)
    assert reject.reason == "malformed"
    assert "\n" not in reject.detail
    assert re.search(message, reject.detail)
    assert list(known(source)) == ["000001.jpg", "000003.jpg"]


def test_an_object_outside_the_set_is_named_in_a_note(folder: Path) -> None:
    labels = LabelSet([Label("red", "red")])
    source = VocSource(folder, labels)
    assert known(source)["000001.jpg"] == Annotation(positives=(0,), complete=True)
    assert "left out: blue, green" in source.notes[0]
    with pytest.raises(ManifestError, match="none of its 3 classes"):
        list(VocSource(folder, LabelSet([Label("zebra", "zebra")])))
