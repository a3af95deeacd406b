"""Which tags appear, go, move and stay; the table, the file and the page of it."""

import html
import re
from pathlib import Path

import hypothesis.strategies as st
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings

import taistore
from taistore.contracts import SCORES
from taistore.errors import ExportError
from taistore.exporting.differences.tag_differences import TagDifferences, tag_differences
from taistore.exporting.tagged_photos import TaggedPhotos
from tests.exporting.tagged_folder import make_photos, tag_file
from tests.faults.hostile_names import names

BEFORE = {
    "1.jpg": [("dog", 0.9), ("cat", 0.5)],
    "2.jpg": [("cat", 0.75), ("cow", 0.7)],
    "3.jpg": [("dog", 0.5)],
    "old.jpg": [("dog", 0.5)],
}
AFTER = {
    "1.jpg": [("dog", 0.87), ("hen", 0.8)],
    "2.jpg": [("cow", 0.72), ("cat", 0.71)],
    "3.jpg": [("cat", 0.6), ("dog", 0.5)],
    "new.jpg": [("dog", 0.5)],
}


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    photos = make_photos(tmp_path / "photos", [*BEFORE, "new.jpg"])
    return (
        tag_file(tmp_path / "before.jsonl", photos, BEFORE),
        tag_file(tmp_path / "after.jsonl", photos, AFTER),
    )


@pytest.fixture
def found(files: tuple[Path, Path]) -> TagDifferences:
    return taistore.diff(*files)


def changes(found: TagDifferences) -> set[tuple[str, str, str]]:
    rows = found.rows.select("uri", "label_name", "change").iter_rows()
    return {(Path(uri).name, label, change) for uri, label, change in rows}


def test_tags_appear_go_move_and_stay(found: TagDifferences) -> None:
    assert changes(found) == {
        ("1.jpg", "dog", "stays"),
        ("1.jpg", "cat", "goes"),
        ("1.jpg", "hen", "appears"),
        # Scores hardly change, but cat and cow change places.
        ("2.jpg", "cat", "moves"),
        ("2.jpg", "cow", "moves"),
        ("3.jpg", "cat", "appears"),
        # It is second now, because of a tag that is new: among what both have it is first.
        ("3.jpg", "dog", "stays"),
    }
    assert (found.images, found.only_before, found.only_after) == (3, 1, 1)
    assert found.counts == {"appears": 2, "goes": 1, "moves": 2, "stays": 2}


def test_the_change_that_counts_can_be_set(files: tuple[Path, Path]) -> None:
    moved = {c for c in changes(taistore.diff(*files, min_change=0.03)) if c[2] == "moves"}
    assert ("1.jpg", "dog", "moves") in moved
    with pytest.raises(ExportError, match="min_change=2"):
        taistore.diff(*files, min_change=2)


def test_labels_and_images_that_change_most_come_first(found: TagDifferences) -> None:
    assert found.labels["label_name"].to_list()[0] == "cat"
    told = found.to_json()
    assert told["images_changed"] == 3
    assert [each["changes"] for each in told["most_changed"]] == [2, 2, 1]
    cat = told["labels"][0]
    assert (cat["appears"], cat["goes"], cat["moves"], cat["stays"]) == (1, 1, 1, 0)
    assert cat["mean_change"] == pytest.approx(-0.04, abs=1e-6)
    assert "2 appear, 1 go, 2 move, 2 stay" in found.table()


def test_with_itself_nothing_changes(files: tuple[Path, Path]) -> None:
    same = taistore.diff(files[0], files[0])
    assert same.counts == {"appears": 0, "goes": 0, "moves": 0, "stays": 6}
    assert same.changed_images.is_empty()


def test_photos_that_share_nothing_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    other = tag_file(tmp_path / "other.jsonl", tmp_path, {"x.jpg": [("dog", 0.5)]})
    with pytest.raises(ExportError, match="no image in common"):
        taistore.diff(files[0], other)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_the_file_has_what_changes(suffix: str, found: TagDifferences, tmp_path: Path) -> None:
    path = tmp_path / f"d{suffix}"
    found.write(path)
    if suffix == ".csv":
        rows = pl.read_csv(path)
    else:
        rows = pl.read_ndjson(path) if suffix == ".jsonl" else pl.read_parquet(path)
    assert rows.columns == found.rows.columns
    assert sorted(rows["change"].to_list()) == ["appears", "appears", "goes", "moves", "moves"]


def test_no_cell_of_the_csv_is_a_formula(tmp_path: Path) -> None:
    photos = make_photos(tmp_path, ["1.jpg"])
    before = tag_file(tmp_path / "a.jsonl", photos, {"1.jpg": [("dog", 0.5)]})
    after = tag_file(tmp_path / "b.jsonl", photos, {"1.jpg": [("=1+1", 0.5)]})
    taistore.diff(before, after).write(tmp_path / "d.csv")
    assert "'=1+1" in (tmp_path / "d.csv").read_text()


def test_the_page_shows_photos_and_escapes_every_name(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", ["1.jpg", "<b>2&.jpg"])
    (photos / "gone.jpg").touch()
    before = {name: [("dog", 0.9)] for name in ("1.jpg", "<b>2&.jpg", "gone.jpg")}
    after = {name: [(label, 0.5) for label in names()] for name in before}
    files = [
        tag_file(tmp_path / "<i>.jsonl", photos, before),
        tag_file(tmp_path / "b.jsonl", photos, after),
    ]
    found = taistore.diff(*files)
    assert found.page(tmp_path / "d.html", max_images=10) == 3
    text = (tmp_path / "d.html").read_text()
    assert text.count("data:image/jpeg;base64,") == 2
    tags = set(re.findall(r"<(/?[a-zA-Z!][a-z0-9]*)", text))
    assert "b" not in tags
    assert "script" not in tags
    assert "<i>" not in text
    assert "<b>2&.jpg" in html.unescape(text)
    assert "default-src 'none'" in text
    assert str(tmp_path) not in text
    assert found.page(tmp_path / "d.html", max_images=1) == 1
    assert "2 more change" in (tmp_path / "d.html").read_text()


SCORED = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 100), max_size=4)
SOURCE = st.dictionaries(st.sampled_from("xyz"), SCORED, min_size=3)


def _photos(source: dict[str, dict[str, int]], run: str) -> TaggedPhotos:
    rows = []
    for image, tags in source.items():
        best = sorted(tags.items(), key=lambda each: (-each[1], each[0]))
        head = {"image_id": image, "uri": image}
        if not best:
            empty = {"rank": 0, "label_key": "", "label_name": "", "score": 0.0}
            rows.append({**head, **empty})
        for rank, (name, score) in enumerate(best, start=1):
            tag = {"rank": rank, "label_key": name, "label_name": name, "score": score / 100}
            rows.append({**head, **tag})
    return TaggedPhotos(pa.Table.from_pylist(rows, schema=SCORES), run=run)


@settings(max_examples=100, deadline=None)
@given(SOURCE, SOURCE)
def test_every_tag_has_the_change_that_a_plain_look_says(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]
) -> None:
    wanted = set()
    for image in before.keys() & after.keys():
        old, new = before[image], after[image]
        both = old.keys() & new.keys()
        places = [sorted(both, key=lambda k: (-of[k], k)) for of in (old, new)]
        for label in old.keys() | new.keys():
            if label not in both:
                change = "goes" if label in old else "appears"
            else:
                far = abs(old[label] - new[label]) >= 5
                moved = far or places[0].index(label) != places[1].index(label)
                change = "moves" if moved else "stays"
            wanted.add((image, label, change))
    found = tag_differences(_photos(before, "a"), _photos(after, "b"))
    assert changes(found) == wanted
    assert sum(found.counts.values()) == len(wanted)
