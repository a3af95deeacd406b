"""Data sets through the real ingest: what ends up in the store, a second run, and other labels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from taistore.errors import ImageError, ManifestError
from taistore.images.ingest import IngestImagesSummary, ingest_images
from taistore.images.sources.open_source import open_source
from taistore.labels import LabelSet
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.images.datasets import (
    coco_text,
    nuswide_labels,
    nuswide_list,
    openimages_text,
    photo,
    voc_folder,
    voc_xml,
)
from tests.images.test_ingest import LABELS, images, rejects

RED, GREEN, BLUE = (LABELS.find(name) for name in ("red", "green", "blue"))
KINDS = [("images", None), ("image_vectors", "colour_32_32"), ("combinations", None)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(
        tmp_path / "store", LabelSet(LABELS[i] for i in range(3)), default_encoder="colour@32"
    )


def _ingest(store: Store, path: Path, **options: Any) -> IngestImagesSummary:
    encoder = options.pop("encoder", None) or ColourEncoder()
    return ingest_images(store, encoder, open_source(path, store.labels, **options))


def _coco(root: Path, second: str) -> Path:
    """Two photos; ``second`` is what the second one shows."""
    path = root / "coco" / "annotations" / "instances_val2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in ("one.jpg", "two.jpg"):
        photo(root / "coco" / "val2017" / name, "red")
    category = {"red": 1, "green": 3, "blue": 5}[second]
    boxes = [{"image_id": 1, "category_id": 1}, {"image_id": 2, "category_id": category}]
    entries = [{"id": 1, "file_name": "one.jpg"}, {"id": 2, "file_name": "two.jpg"}]
    path.write_text(coco_text(entries, boxes))
    return path


def _voc(root: Path, second: str) -> Path:
    folder = root / "VOCdevkit" / "VOC2007"
    if not folder.is_dir():
        voc_folder(root, {"one": [("red", 0), ("green", 0)], "two": [("red", 0)]})
        (folder / "Annotations" / "one.xml").write_text(voc_xml("one.jpg", [("red", 0)]))
        # All three colours are looked for.
        for colour in ("red", "green", "blue"):
            (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
            (folder / "ImageSets" / "Main" / f"{colour}_val.txt").touch()
    (folder / "Annotations" / "two.xml").write_text(voc_xml("two.jpg", [(second, 0)]))
    return folder


def _nuswide(root: Path, second: str) -> Path:
    for name in ("one.jpg", "two.jpg"):
        photo(root / "nus" / "Flickr" / "sky" / name, "red")
    nuswide_list(root / "nus", "Imagelist", ["sky/one.jpg", "sky/two.jpg"])
    for colour in ("red", "green", "blue"):
        values = [int(colour == "red"), int(colour == second)]
        nuswide_labels(root / "nus", f"AllLabels/Labels_{colour}", values)
    return root / "nus"


def _openimages(root: Path, second: str) -> Path:
    for name in ("one.jpg", "two.jpg"):
        photo(root / "oi" / "images" / name, "red")
    rows = [
        (image, colour, str(int(colour == shown)))
        for image, shown in (("one", "red"), ("two", second))
        for colour in ("red", "green", "blue")
    ]
    (root / "oi" / "rows.csv").write_text(openimages_text(rows))
    return root / "oi" / "rows.csv"


@pytest.mark.parametrize("write", [_coco, _voc, _nuswide, _openimages])
def test_again_is_nothing_and_other_labels_replace(
    tmp_path: Path, store: Store, write: Callable[[Path, str], Path]
) -> None:
    path = write(tmp_path, "blue")
    first = _ingest(store, path)
    assert (first.added, first.seen, first.rejected, first.notes) == (2, 2, 0, ())
    rows = images(store)
    assert rows["one.jpg"]["positives"] == [RED]
    assert rows["two.jpg"]["positives"] == [BLUE]
    assert rows["two.jpg"]["combination_id"] == LABELS.combination_id([BLUE])
    expected = [RED, GREEN] if write is _openimages else []
    assert (rows["two.jpg"]["complete"], rows["two.jpg"]["negatives"]) == (not expected, expected)

    before = store.versions(KINDS)
    encoder = ColourEncoder()
    again = _ingest(store, path, encoder=encoder)
    assert (again.already_there, again.seen, encoder.encoded) == (2, 2, 0)
    assert store.versions(KINDS) == before

    relabelled = _ingest(store, write(tmp_path, "green"), encoder=encoder)
    assert (relabelled.relabelled, relabelled.already_there, encoder.encoded) == (1, 1, 0)
    assert images(store)["two.jpg"]["positives"] == [GREEN]
    assert images(store)["one.jpg"] == rows["one.jpg"]


def test_what_is_wrong_is_set_aside_and_said(tmp_path: Path, store: Store) -> None:
    path = _openimages(tmp_path, "blue")
    photo(path.parent / "images" / "extra.jpg", "green")
    with path.open("a") as file:
        file.write("gone,x,red,1\none,x,green,1\ntwo,x\ntwo,x,zebra,1\n")
    summary = _ingest(store, path)
    assert (summary.added, summary.rejected) == (2, 3)
    assert {(name, reason) for _, name, reason in rejects(store)} == {
        ("gone.jpg", "missing"),
        ("one.jpg", "conflict"),
        ("rows.csv: row 9", "malformed"),
    }
    assert [note.rpartition(": ")[2][:40] for note in summary.notes] == [
        "1 of 9 rows have a label outside the set",
        "their labels stay as they were, unknown ",
    ]
    extra = images(store)["extra.jpg"]
    assert (extra["positives"], extra["negatives"], extra["complete"]) == ([], [], False)

    # Mended, the rejects of these images are gone, and an image keeps its earlier labels where
    # the annotations say nothing of it any more.
    _openimages(tmp_path, "blue")
    _ingest(store, path)
    assert {name for _, name, _ in rejects(store)} == {"gone.jpg", "rows.csv: row 9"}


def test_a_file_that_breaks_off_leaves_the_store_as_it_was(tmp_path: Path, store: Store) -> None:
    path = _coco(tmp_path, "blue")
    whole = path.read_text()
    path.write_text(whole[: whole.index('"categories"') - 2])
    with pytest.raises(ManifestError, match="cut off or broken"):
        _ingest(store, path)
    assert store.count("images") == 0
    path.write_text(whole)
    for photo_path in (tmp_path / "coco" / "val2017").iterdir():
        photo_path.unlink()
    with pytest.raises(ImageError, match=r"none of 2 images could be used .*no such file, though"):
        _ingest(store, path)
