"""NUS-WIDE: its lists, its columns of zeros and ones, photos that are gone, files that differ."""

from pathlib import Path

import pytest

from taistore.errors import ImageError, ManifestError
from taistore.images.sources.published.nuswide import NusWideSource
from taistore.images.sources.source import Annotation
from taistore.labels import Label, LabelSet
from tests.images.datasets import known, nuswide_labels, nuswide_list, photo, rejected, splits

LABELS = LabelSet([Label("red", "red"), Label("green", "green"), Label("blue", "blue")])
RED, GREEN, BLUE = range(3)
TRAIN = ["actor/0001_11.jpg", "sky/0002_12.jpg"]
TEST = ["actor/0003_13.jpg"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The genuine layout: red, green and blue over two training images and one of the test."""
    for name in (*TRAIN, *TEST):
        photo(tmp_path / "Flickr" / name, "red")
    nuswide_list(tmp_path, "TrainImagelist", TRAIN)
    nuswide_list(tmp_path, "TestImagelist", TEST)
    nuswide_list(tmp_path, "Imagelist", [TRAIN[0], *TEST, TRAIN[1]])
    for concept, train, test in (("red", (1, 0), "1 "), ("green", (1, 0), 0), ("blue", (0, 0), 1)):
        nuswide_labels(tmp_path, f"TrainTestLabels/Labels_{concept}_Train", train)
        nuswide_labels(tmp_path, f"TrainTestLabels/Labels_{concept}_Test", [test])
        nuswide_labels(
            tmp_path, f"AllLabels/Labels_{concept}", [train[0], str(test).strip(), train[1]]
        )
    return tmp_path


EXPECTED = {
    "0001_11.jpg": Annotation(positives=(RED, GREEN), complete=True),
    "0002_12.jpg": Annotation(complete=True),
    "0003_13.jpg": Annotation(positives=(RED, BLUE), complete=True),
}
SPLITS = {"0001_11.jpg": "train", "0002_12.jpg": "train", "0003_13.jpg": "test"}


def test_the_official_split(root: Path) -> None:
    source = NusWideSource(root, LABELS)
    assert known(source) == EXPECTED
    assert splits(source) == SPLITS
    assert source.count() == 3
    assert source.notes == ()
    assert splits(NusWideSource(root, LABELS, split="test")) == {"0003_13.jpg": "test"}
    assert list(known(NusWideSource(root, LABELS, split="Train"))) == ["0001_11.jpg", "0002_12.jpg"]
    with pytest.raises(ManifestError, match="no split 'val': use split= with one of train, test"):
        list(NusWideSource(root, LABELS, split="val"))


def test_all_labels_where_that_is_what_is_there(root: Path) -> None:
    (root / "Groundtruth" / "TrainTestLabels").rename(root / "away")
    assert known(NusWideSource(root, LABELS)) == EXPECTED
    assert splits(NusWideSource(root, LABELS)) == SPLITS
    assert splits(NusWideSource(root, LABELS, split="test")) == {"0003_13.jpg": "test"}
    with pytest.raises(ManifestError, match="use split=train or split=test"):
        list(NusWideSource(root, LABELS, split="val"))
    for name in ("Train", "Test"):
        (root / "ImageList" / f"{name}Imagelist.txt").unlink()
    assert set(splits(NusWideSource(root, LABELS, split="val")).values()) == {"val"}


def test_photos_without_folders_of_concepts(root: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in (*TRAIN, *TEST):
        (root / "Flickr" / name).rename(flat / Path(name).name)
    assert known(NusWideSource(root, LABELS, photos=flat)) == EXPECTED
    with pytest.raises(ImageError, match="no such folder: check photos="):
        list(NusWideSource(root, LABELS, photos=tmp_path / "none"))


def test_photos_that_are_gone_and_photos_that_no_list_names(root: Path) -> None:
    (root / "Flickr" / TRAIN[0]).unlink()
    photo(root / "Flickr" / "actor" / "extra.jpg", "blue")
    source = NusWideSource(root, LABELS)
    (reject,) = rejected(source)
    assert (reject.uri, reject.reason) == (str(root / "Flickr" / TRAIN[0]), "missing")
    assert known(source)["extra.jpg"] is None
    assert "1 images have no annotation" in source.notes[0]
    # Of one split alone, the others are not without annotation.
    assert NusWideSource(root, LABELS, split="test").notes == ()
    assert len(known(NusWideSource(root, LABELS, split="test"))) == 1


def test_concepts_outside_the_set_or_without_labels(root: Path) -> None:
    (root / "Concepts81.txt").write_text("red\ngreen\nblue\nzebra\n")
    nuswide_labels(root, "TrainTestLabels/Labels_zebra_Train", [0, 0])
    nuswide_labels(root, "TrainTestLabels/Labels_zebra_Test", [0])
    for part in ("Train", "Test"):
        (root / "Groundtruth" / "TrainTestLabels" / f"Labels_green_{part}.txt").unlink()
    source = NusWideSource(root, LABELS)
    assert known(source)["0001_11.jpg"] == Annotation(positives=(RED,), negatives=(BLUE,))
    outside, unlabelled = source.notes
    assert "left out: zebra" in outside
    assert "no labels of green: they stay unknown" in unlabelled


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], r"Labels_red_Train\.txt: has 1 lines, but .*TrainImagelist\.txt lists 2 images"),
        ([1, 0, 1], "has 3 lines"),
        ([0] * 5000, "has 1,002 or more lines"),
        ([1, 2], r"Labels_red_Train\.txt: line 2 is '2': it must be 0 or 1"),
        ([1, "-1"], "line 2 is '-1'"),
        (["", 1], "line 1 is ''"),
        ([1, "yes"], "line 2 is 'yes'"),
    ],
)
def test_a_file_of_labels_that_does_not_fit(
    root: Path, values: list[int | str], message: str
) -> None:
    nuswide_labels(root, "TrainTestLabels/Labels_red_Train", values)
    with pytest.raises(ManifestError, match=message):
        next(iter(NusWideSource(root, LABELS)))


def test_what_is_not_there(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="has no folder 'ImageList'"):
        NusWideSource(tmp_path / "Flickr", LABELS)
    nuswide_list(root, "TestImagelist", [])
    with pytest.raises(ManifestError, match=r"TestImagelist\.txt: lists no images"):
        list(NusWideSource(root, LABELS))
    (root / "Groundtruth" / "TrainTestLabels").rename(root / "away")
    (root / "Groundtruth" / "AllLabels").rename(root / "away2")
    with pytest.raises(ManifestError, match="has no files Labels_<concept>"):
        list(NusWideSource(root, LABELS))


def test_a_line_that_is_no_path_is_set_aside(root: Path) -> None:
    nuswide_list(root, "TrainImagelist", ["", TRAIN[1]])
    (reject,) = rejected(NusWideSource(root, LABELS))
    assert reject.uri.endswith("TrainImagelist.txt: line 1")
    assert reject.reason == "malformed"
