"""OpenImages: rows in any order, what is verified, contradictions, and rows that are broken."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.errors import ImageError, ManifestError
from taistore.images.sources.published import openimages
from taistore.images.sources.published.openimages import OpenImagesSource
from taistore.images.sources.source import Annotation
from taistore.labels import Label, LabelSet
from tests.images.datasets import known, openimages_text, photo, rejected, splits

LABELS = LabelSet([Label("/m/r", "red"), Label("/m/g", "green"), Label("/m/b", "blue")])
RED, GREEN, BLUE = range(3)
NAME = "train-annotations-human-imagelabels.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose ``train`` holds the photos a1, b2 and c3."""
    for name in ("a1", "b2", "c3"):
        photo(tmp_path / "train" / f"{name}.jpg", "red")
    return tmp_path


def _source(folder: Path, rows: list[tuple[str, str, str]]) -> OpenImagesSource:
    (folder / NAME).write_text(openimages_text(rows))
    return OpenImagesSource(folder / NAME, LABELS)


ROWS = [
    ("a1", "/m/r", "1"),
    ("a1", "/m/g", "0"),
    ("b2", "/m/b", "1"),
    ("a1", "/m/r", "1"),
    ("b2", "/m/zebra", "1"),
    ("b2", "/m/r", "0.7"),
    ("a1", "/m/b", "1.0"),
]


def test_verified_labels_are_known_and_others_are_not(folder: Path) -> None:
    source = _source(folder, ROWS)
    assert known(source) == {
        "a1.jpg": Annotation(positives=(RED, BLUE), negatives=(GREEN,)),
        "b2.jpg": Annotation(positives=(BLUE,)),
        "c3.jpg": None,
    }
    outside, unsure, unannotated = source.notes
    assert "1 of 7 rows have a label outside the set" in outside
    assert "1 of 7 rows have a Confidence between 0 and 1" in unsure
    assert "1 images have no annotation in" in unannotated
    # A second reading counts afresh.
    assert len(list(source)) == 3
    assert source.notes == (outside, unsure, unannotated)
    assert source.count() is None


def test_the_photos_and_the_split(folder: Path, tmp_path: Path) -> None:
    (folder / "train").rename(tmp_path / "elsewhere")
    (folder / "labels").mkdir()
    path = folder / "labels" / NAME
    path.write_text(openimages_text(ROWS))
    source = OpenImagesSource(path, LABELS, photos=tmp_path / "elsewhere", split="train")
    assert splits(source) == {"a1.jpg": "train", "b2.jpg": "train", "c3.jpg": None}
    assert rejected(source) == []
    with pytest.raises(ImageError, match="no such folder: check photos="):
        OpenImagesSource(path, LABELS, photos=tmp_path / "none")


def test_an_image_that_is_gone_and_one_that_contradicts_itself(folder: Path) -> None:
    rows = [("gone", "/m/r", "1"), *ROWS, ("a1", "/m/g", "1"), ("a1", "/m/b", "0")]
    source = _source(folder, rows)
    found = {Path(reject.uri).name: reject for reject in rejected(source)}
    assert found["gone.jpg"].reason == "missing"
    assert NAME in found["gone.jpg"].detail
    assert found["a1.jpg"].reason == "conflict"
    assert "label '/m/g' is both 1 and 0 for this image" in found["a1.jpg"].detail
    # It is not taken for a photo without annotation either.
    assert known(source) == {"b2.jpg": Annotation(positives=(BLUE,)), "c3.jpg": None}


def test_rows_that_cannot_be_read_are_named(folder: Path) -> None:
    (folder / NAME).write_bytes(
        openimages_text(ROWS).encode()
        + b"a1,verification,/m/g\na1,x,/m/g,two\nb2,x,/m/r,-1\nb2,x,/m/r,nan\n"
        + b"\xff,x,/m/r,1\n../a1,x,/m/r,1\nb2,x,/m/g,0\n"
    )
    source = OpenImagesSource(folder / NAME, LABELS)
    found = [(reject.uri.rpartition(": ")[2], reject.detail) for reject in rejected(source)]
    assert found[0] == ("row 8", "3 fields where the header has 4")
    assert [(place, detail[:19]) for place, detail in found[1:4]] == [
        ("row 9", "Confidence is 'two'"),
        ("row 10", "Confidence is '-1':"),
        ("row 11", "Confidence is 'nan'"),
    ]
    assert {Path(place).name for place, _ in found[4:]} == {"a1", "\\xff.jpg"}
    assert known(source)["b2.jpg"] == Annotation(positives=(BLUE,), negatives=(GREEN,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'ImageID'"),
        ("ImageID,LabelName\na,b\n", "no column 'Confidence'"),
        ("ImageID,Source,LabelName,Confidence\n", "none of its 0 rows has a label of the set"),
        (openimages_text([("a1", "red", "1")]), "keys of the labels must be MIDs"),
    ],
)
def test_a_file_that_is_no_such_csv(folder: Path, text: str, message: str) -> None:
    (folder / NAME).write_text(text)
    with pytest.raises(ManifestError, match=message) as caught:
        list(OpenImagesSource(folder / NAME, LABELS))
    assert NAME in str(caught.value)
    assert "\n" not in str(caught.value)


_IMAGES = [f"{number:016x}" for number in range(0, 12 * 77_777, 77_777)]
_ROWS = st.lists(
    st.tuples(
        st.sampled_from(_IMAGES),
        st.sampled_from([*LABELS.keys, "/m/other"]),
        st.sampled_from(["1", "0", "0.5"]),
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize("block", [200, 2**22])
def test_rows_in_any_order_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(openimages, "_BLOCK_BYTES", block)
    monkeypatch.setattr(openimages, "_PARTITION_BYTES", 300)
    (tmp_path / "train").mkdir()
    for name in _IMAGES:
        (tmp_path / "train" / f"{name}.jpg").touch()

    @settings(max_examples=60, deadline=None)
    @given(rows=_ROWS, seed=st.randoms(use_true_random=False))
    def check(rows: list[tuple[str, str, str]], seed: random.Random) -> None:
        rows = [*rows, (_IMAGES[0], "/m/r", "1")]
        said: dict[str, dict[int, set[str]]] = {name: {} for name in _IMAGES}
        for image, label, value in rows:
            if label in LABELS.keys and value != "0.5":
                said[image].setdefault(LABELS.find(label), set()).add(value)
        expected = {
            f"{image}.jpg": Annotation(
                positives=tuple(sorted(i for i, v in cells.items() if v == {"1"})),
                negatives=tuple(sorted(i for i, v in cells.items() if v == {"0"})),
            )
            if cells
            else None
            for image, cells in said.items()
            if not any(len(values) == 2 for values in cells.values())
        }
        grouped = list(_source(tmp_path, sorted(rows)))
        assert known(OpenImagesSource(tmp_path / NAME, LABELS)) == expected
        seed.shuffle(rows)
        assert list(_source(tmp_path, rows)) == grouped

    check()


def test_nothing_is_left_on_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    source = _source(folder, ROWS)
    iterator = iter(source)
    next(iterator)
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    del iterator
    assert list((tmp_path / "temporary").iterdir()) == []
    list(source)
    assert list((tmp_path / "temporary").iterdir()) == []
