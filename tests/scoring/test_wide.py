"""The wide layout: one row an image, a column a label, and back again, in every format."""

import csv
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given

from taistore.contracts import SCORES
from taistore.errors import ScoringError
from taistore.labels import Label, LabelSet
from taistore.scoring.loaded_run import open_run
from taistore.scoring.page.write_page import write_page
from taistore.scoring.score import score
from taistore.scoring.tagging import tag_store
from taistore.scoring.tags import wide as module
from taistore.scoring.tags.read_tags import count_images, read_tags
from taistore.scoring.tags.tag_file import SUFFIXES, tag_writer
from taistore.scoring.tags.tag_frame import TagFrame
from taistore.scoring.tags.wide import headings, narrow, wide_schema, widen
from taistore.store.store import Store
from tests.fakes import ColourEncoder
from tests.scoring.colours import NAMES, PICTURES, add_pictures, add_run, new_store
from tests.scoring.tag_frames import read_tag_frame

LABELS = LabelSet(
    [Label("k0", "dog"), Label("k1", "crane"), Label("k2", "crane"), Label("k3", "=1+1")]
)

Found = list[dict[int, float]]
"""Of each image, score by label id."""


def long_table(images: Found, labels: LabelSet = LABELS) -> pa.Table:
    """Rows of contracts.SCORES, best score first; rank 0 for an image without tags."""
    rows: list[dict[str, Any]] = []
    for n, scores in enumerate(images):
        image = {"image_id": f"i{n}", "uri": f"/{n}.jpg"}
        ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
        rows += [
            {
                **image,
                "rank": rank,
                "label_key": labels[label_id].key,
                "label_name": labels[label_id].name,
                "score": value,
            }
            for rank, (label_id, value) in enumerate(ranked, start=1)
        ] or [{**image, "rank": 0, "label_key": "", "label_name": "", "score": 0.0}]
    return pa.Table.from_pylist(rows, schema=SCORES)


IMAGES: Found = [{0: 0.5, 2: 0.75}, {}, {3: 1.0}, {0: 0.25, 1: 0.5, 2: 0.5, 3: 0.0}]
COLUMNS = ["dog", "crane (k1)", "crane (k2)", "=1+1"]


@given(
    st.lists(
        st.dictionaries(st.integers(0, 3), st.floats(0, 1, width=32), max_size=4), max_size=12
    ),
    st.integers(1, 20),
)
def test_wide_and_back_gives_the_same_rows(images: Found, cells: int) -> None:
    tags = long_table(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_CELLS", cells)
        pieces = list(widen(tags, LABELS))
    wide = pa.concat_tables([wide_schema(LABELS).empty_table(), *pieces])
    assert wide.num_rows == len(images)
    for row, scores in zip(wide.to_pylist(), images, strict=True):
        assert [row[name] for name in COLUMNS] == [scores.get(n) for n in range(4)]
    assert narrow(wide, LABELS).to_pylist() == tags.to_pylist()


def test_headings_are_never_two_of_one_name() -> None:
    labels = [
        Label("a", "uri"),
        Label("b", "score"),
        Label("c", "x"),
        Label("d", "x"),
        Label("e", "x (c)"),
    ]
    assert headings(labels) == ["uri (a)", "score (b)", "x (c)", "x (d)", "x (c) (e)"]


def test_a_frame_turns_wide_with_images_that_have_no_tags() -> None:
    frame = TagFrame.of(long_table(IMAGES), labels=LABELS)
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == SCORES.names
    assert frame["rank"].min() == 1
    wide = frame.wide()
    assert wide.columns == ["image_id", "uri", *COLUMNS]
    assert wide.rows() == [
        (f"i{n}", f"/{n}.jpg", *(scores.get(i) for i in range(4)))
        for n, scores in enumerate(IMAGES)
    ]


def test_a_part_of_a_frame_turns_wide_with_the_labels_that_it_has() -> None:
    part = TagFrame(TagFrame.of(long_table(IMAGES), labels=LABELS).filter(pl.col("score") > 0.5))
    assert part.wide().rows() == [("i0", "/0.jpg", 0.75, None), ("i2", "/2.jpg", None, 1.0)]
    assert part.wide().columns == ["image_id", "uri", "crane", "=1+1"]
    # A slice may begin in the middle of an image.
    cut = TagFrame.of(long_table(IMAGES), labels=LABELS)[1:]
    assert isinstance(cut, TagFrame)
    assert cut.wide()["image_id"].to_list() == ["i0", "i2", "i3"]


def test_a_frame_in_a_notebook_escapes_what_labels_are_called() -> None:
    labels = LabelSet([Label("<i>", "<script>alert(1)</script>")])
    frame = TagFrame.of(long_table([{0: 0.5}], labels), labels=labels)
    for shown in (frame._repr_html_(), frame.wide()._repr_html_()):
        assert "<script" not in shown
        assert "<i>" not in shown
        assert "&lt;script&gt;" in shown


@pytest.fixture
def store(tmp_path: Path) -> Store:
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    add_pictures(store, encoder)
    add_run(store, encoder)
    return store


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_score_writes_one_row_an_image(store: Store, tmp_path: Path, suffix: str) -> None:
    best = sorted(tag_store(open_run(store, "run-1"), top_k=1, known="ignore")["score"])
    middle = (best[0] + best[-1]) / 2
    options: dict[str, Any] = {"top_k": 2, "threshold": middle, "known": "ignore"}
    long, wide = tmp_path / f"long{suffix}", tmp_path / f"wide{suffix}"
    first = score(store, "run-1", None, long, **options)
    second = score(store, "run-1", None, wide, layout="wide", **options)
    assert first.without_tags == second.without_tags > 0
    assert (first.tags, first.images) == (second.tags, second.images)
    read: dict[str, Any] = {
        ".parquet": pl.read_parquet,
        ".jsonl": pl.read_ndjson,
        ".csv": pl.read_csv,
    }
    table = read[suffix](wide)
    assert table.columns == ["image_id", "uri", *NAMES]
    assert table.height == len(PICTURES)
    assert table.select(pl.sum_horizontal(pl.col(NAMES).is_not_null()).sum()).item() == first.tags
    assert list(read_tags(wide, labels=store.labels)) == list(read_tags(long))
    assert count_images(wide) == count_images(long) == len(PICTURES) - first.without_tags
    frame = read_tag_frame(wide, labels=store.labels)
    assert frame.equals(read_tag_frame(long))
    assert frame.wide().height == count_images(wide)
    assert [row["label_key"] for row in read_tags(wide)] == [
        row["label_name"] for row in frame.iter_rows(named=True)
    ]


def test_a_stopped_job_may_end_in_the_other_layout(store: Store, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole.csv", tmp_path / "tags.csv"
    score(store, "run-1", None, whole, layout="wide")

    class StopError(Exception):
        pass

    def stop(description: str, *, total: int | None, unit: str) -> Any:
        class Bar:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                return None

            def advance(self, amount: int = 1, **figures: float) -> None:
                raise StopError

        return Bar()

    with pytest.raises(StopError):
        score(store, "run-1", None, out, progress=stop)
    assert not out.exists()
    summary = score(store, "run-1", None, out, layout="wide")
    assert summary.resumed == len(PICTURES)
    assert out.read_bytes() == whole.read_bytes()


def test_no_heading_of_a_csv_begins_like_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    with tag_writer(path, ".csv", schema=wide_schema(LABELS)) as writer:
        for piece in widen(long_table(IMAGES), LABELS):
            writer.write(piece)
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file))
    assert header == ["image_id", "uri", "dog", "crane (k1)", "crane (k2)", "'=1+1"]
    assert read_tag_frame(path, labels=LABELS).wide().columns[2:] == COLUMNS
    path.write_text("image_id,uri,dog\na,b,c\n")
    with pytest.raises(ScoringError, match="not a readable file of tags"):
        read_tag_frame(path)


def test_a_page_of_a_wide_file_is_that_of_a_long_one(store: Store, tmp_path: Path) -> None:
    pages = []
    for layout in ("long", "wide"):
        folder = tmp_path / layout
        folder.mkdir()
        score(store, "run-1", None, folder / "tags.csv", layout=layout, top_k=2)
        page = folder / "page.html"
        write_page(folder / "tags.csv", page, store=store)
        pages.append(page.read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
