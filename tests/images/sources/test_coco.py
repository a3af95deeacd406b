"""COCO: what categories become labels, crowds, order, and files that break off."""

import json
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from taistore.errors import ImageError, ManifestError
from taistore.images.sources.published.coco import CocoSource
from taistore.images.sources.source import Annotation
from taistore.labels import Label, LabelSet
from tests.images.datasets import coco_text, known, photo, rejected, splits

LABELS = LabelSet(
    [Label("red", "red", ("scarlet",)), Label("/m/g", "green"), Label("blue", "blue")]
)
RED, GREEN, BLUE = range(3)

IMAGES = [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b.jpg"}]
BOXES = [
    {"image_id": 3, "category_id": 5},
    {"image_id": 7, "category_id": 1},
    {"image_id": 7, "category_id": 3, "iscrowd": 1},
    {"image_id": 7, "category_id": 1, "iscrowd": 1},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``coco/annotations`` with the photos a and b in ``coco/train2017``."""
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        photo(tmp_path / "coco" / "train2017" / name, "red")
    return tmp_path / "coco" / "annotations"


def _write(folder: Path, text: str) -> Path:
    path = folder / "instances_train2017.json"
    path.write_text(text, encoding="utf-8")
    return path


def _annotations(
    folder: Path, images: Sequence[Any], boxes: Sequence[Any], **options: Any
) -> dict[str, Annotation | None]:
    return known(CocoSource(_write(folder, coco_text(images, boxes)), LABELS, **options))


def test_boxes_make_labels_and_their_absence_negatives(folder: Path) -> None:
    source = CocoSource(_write(folder, coco_text(IMAGES, BOXES)), LABELS)
    assert known(source) == {
        "a.jpg": Annotation(positives=(RED, GREEN), complete=True),
        "b.jpg": Annotation(positives=(BLUE,), complete=True),
    }
    assert source.count() == 2
    assert source.notes == ()
    assert [Path(item.uri) for item in source] == [
        folder.parent / "train2017" / name for name in ("a.jpg", "b.jpg")
    ]


def test_a_label_seen_only_as_a_crowd_is_unknown_when_crowds_are_ignored(folder: Path) -> None:
    # a.jpg has a red box and a red crowd: red is sure, green is not.
    assert _annotations(folder, IMAGES, BOXES, crowd="ignore") == {
        "a.jpg": Annotation(positives=(RED,), negatives=(BLUE,), unknown=(GREEN,)),
        "b.jpg": Annotation(positives=(BLUE,), complete=True),
    }


@pytest.mark.parametrize("order", list(permutations(["images", "annotations", "categories"])))
def test_sections_come_in_any_order(folder: Path, order: tuple[str, ...]) -> None:
    path = _write(folder, coco_text(IMAGES, BOXES, order=order))
    assert known(CocoSource(path, LABELS)) == {
        "a.jpg": Annotation(positives=(RED, GREEN), complete=True),
        "b.jpg": Annotation(positives=(BLUE,), complete=True),
    }


def test_categories_are_found_by_synonym_and_others_named_in_a_note(folder: Path) -> None:
    text = coco_text(IMAGES, BOXES, ["Scarlet", "/m/g", "blue", "zebra", "cup"])
    source = CocoSource(_write(folder, text), LABELS)
    assert known(source)["a.jpg"] == Annotation(positives=(RED, GREEN), complete=True)
    (note,) = source.notes
    assert "2 of its classes are not in the label set and were left out: zebra, cup" in note


def test_a_label_that_is_no_category_stays_unknown(folder: Path) -> None:
    text = coco_text(IMAGES, BOXES, ["red", "zebra", "blue"])
    assert known(CocoSource(_write(folder, text), LABELS))["a.jpg"] == Annotation(
        positives=(RED,), negatives=(BLUE,)
    )


def test_an_image_without_boxes_shows_none_of_the_labels(folder: Path) -> None:
    assert _annotations(folder, IMAGES, BOXES[:1])["a.jpg"] == Annotation(complete=True)


def test_photos_that_are_gone_and_photos_without_annotation(folder: Path) -> None:
    photo(folder.parent / "train2017" / "extra.jpg", "blue")
    (folder.parent / "train2017" / "readme.txt").touch()
    images = [*IMAGES, {"id": 9, "file_name": "gone.jpg"}]
    source = CocoSource(_write(folder, coco_text(images, BOXES)), LABELS)
    assert known(source)["extra.jpg"] is None
    (reject,) = rejected(source)
    assert reject.uri == str(folder.parent / "train2017" / "gone.jpg")
    assert reject.reason == "missing"
    assert "instances_train2017.json lists it" in reject.detail
    (note,) = source.notes
    assert "1 images have no annotation in" in note
    assert source.ignored == 1


def test_where_the_photos_are(folder: Path, tmp_path: Path) -> None:
    path = _write(folder, coco_text(IMAGES, BOXES))
    (folder.parent / "train2017").rename(tmp_path / "elsewhere")
    with pytest.raises(ImageError, match=r"train2017, .*name their folder with photos="):
        list(CocoSource(path, LABELS))
    with pytest.raises(ImageError, match="nowhere: no such folder: check photos="):
        list(CocoSource(path, LABELS, photos=tmp_path / "nowhere"))
    source = CocoSource(path, LABELS, photos=tmp_path / "elsewhere", split="train")
    assert splits(source) == {"a.jpg": "train", "b.jpg": "train"}
    # The folder above theirs will do as well.
    (tmp_path / "elsewhere").rename(tmp_path / "train2017")
    assert len(known(CocoSource(path, LABELS, photos=tmp_path))) == 2


def test_annotations_that_lead_nowhere_are_set_aside(folder: Path) -> None:
    boxes = [*BOXES, {"image_id": 7, "category_id": 99}, {"image_id": 55, "category_id": 1}]
    source = CocoSource(_write(folder, coco_text(IMAGES, boxes)), LABELS)
    assert known(source) == {"b.jpg": Annotation(positives=(BLUE,), complete=True)}
    category, image = rejected(source)
    assert (Path(category.uri).name, category.reason) == ("a.jpg", "unknown_category")
    assert "annotations entry 5 gives this image a category_id" in category.detail
    assert image.uri.endswith("instances_train2017.json: annotations entry 6")
    assert image.reason == "unknown_image"
    assert source.count() == 3


def test_a_file_name_that_is_none_is_set_aside(folder: Path) -> None:
    images: list[dict[str, Any]] = [*IMAGES, {"id": 8}, {"id": 9, "file_name": "http://x/y.jpg"}]
    source = CocoSource(_write(folder, coco_text(images, BOXES)), LABELS)
    assert [reject.reason for reject in rejected(source)] == ["malformed", "unsupported"]
    assert rejected(source)[0].uri.endswith("images entry 3")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "has no 'images'"),
        ({"annotations": []}, "has no 'annotations'"),
        ({"categories": []}, "has no 'categories'"),
        ({"images": [3]}, "images entry 1 is 3: it must be an object"),
        ({"images": [{"id": "x"}]}, "images entry 1: id is 'x': it must be a whole number"),
        ({"images": [{"id": 1.5}]}, "images entry 1: id is 1.5"),
        ({"images": [{"id": 1}, {"id": 1}]}, "image id 1 is there twice"),
        ({"annotations": [{"image_id": 7}]}, "annotations entry 1: category_id is None"),
        ({"categories": [{"id": 1}]}, "categories entry 1 has the name None"),
        (
            {"categories": [{"id": 1, "name": "red"}, {"id": 1, "name": "blue"}]},
            "entry 2 has the name 'blue'",
        ),
        ({"categories": [{"id": 1, "name": "zebra"}]}, "none of its 1 classes"),
    ],
)
def test_what_is_no_coco_file(folder: Path, change: dict[str, Any], message: str) -> None:
    path = _write(folder, json.dumps({**json.loads(coco_text(IMAGES, BOXES)), **change}))
    with pytest.raises(ManifestError, match=message) as caught:
        list(CocoSource(path, LABELS))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_ambiguous_category_names_the_keys(folder: Path) -> None:
    labels = LabelSet([Label("/m/1", "red"), Label("/m/2", "red"), Label("blue", "blue")])
    with pytest.raises(ManifestError, match="'red' is ambiguous: use one of the keys /m/1, /m/2"):
        list(CocoSource(_write(folder, coco_text(IMAGES, BOXES)), labels))


@pytest.mark.parametrize("order", [("images", "annotations"), ("annotations", "images")])
def test_a_file_that_breaks_off_yields_nothing(folder: Path, order: tuple[str, ...]) -> None:
    text = coco_text(IMAGES, BOXES * 20, order=("categories", *order))
    # After every image and most boxes are there: what is missing would count as absent.
    for length in (len(text) - 1, len(text) // 2, len(text) // 3, 40, 1):
        source = CocoSource(_write(folder, text[:length]), LABELS)
        with pytest.raises(ManifestError, match=r"cut off or broken before byte [\d,]+") as caught:
            next(iter(source))
        assert "\n" not in str(caught.value)
        with pytest.raises(ManifestError, match="cut off or broken"):
            source.count()
    for broken in (text + "}", text.replace("900", "9x0", 1)):
        with pytest.raises(ManifestError, match="cut off or broken"):
            next(iter(CocoSource(_write(folder, broken), LABELS)))
