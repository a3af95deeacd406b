"""Files of tags: every format reads back what was written, and CSV is safe in a spreadsheet."""

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import hypothesis.strategies as st
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from taistore.contracts import SCORES
from taistore.errors import ScoringError
from taistore.labels import Label
from taistore.scoring.tags import tag_file as module
from taistore.scoring.tags.read_tags import read_tags
from taistore.scoring.tags.tag_file import SUFFIXES, harmless, require_suffix, tag_writer
from taistore.scoring.tags.wide import wide_schema

NASTY = [
    "=1+1",
    "+x",
    "-x",
    "@x",
    "\tx",
    "\rx",
    "'x",
    "''=x",
    'a"b',
    "a,b",
    "a\nb",
    "日本 ☕",
    "<script>",
]


def table(texts: list[str]) -> pa.Table:
    """One tag per text, which is its file name, key and name."""
    return pa.table(
        {
            "image_id": texts,
            "uri": texts,
            "rank": pa.array(range(1, len(texts) + 1), pa.int32()),
            "label_key": texts,
            "label_name": texts,
            "score": pa.array([n / 7 for n in range(len(texts))], pa.float32()),
        }
    ).cast(SCORES)


def _same(left: float | None, right: float | None) -> bool:
    """Whether both are the same float32, or nothing."""
    if left is None or right is None:
        return left is right
    return np.float32(left).tobytes() == np.float32(right).tobytes()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.none() | st.floats(0, 1, width=32), min_size=6, max_size=6),
    st.lists(st.sampled_from(NASTY), min_size=2, max_size=2, unique=True),
    st.integers(1, 9),
)
def test_text_files_hold_each_row_as_python_would_write_it(
    scores: list[float | None], names: list[str], cells: int
) -> None:
    # Two columns of scores, three images; some cells at a time.
    labels = [Label(name, name) for name in names]
    uris = ["a,b", 'c"d', "=e\nf"]
    arrays = [pa.array(scores[n::2], pa.float32()) for n in range(2)]
    tags = pa.table([pa.array(uris), pa.array(uris), *arrays], schema=wide_schema(labels))
    lines: dict[str, str] = {}
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(module, "_CELLS_AT_ONCE", cells)
        for suffix in (".jsonl", ".csv"):
            path = Path(folder) / f"tags{suffix}"
            with tag_writer(path, suffix, schema=tags.schema) as writer:
                writer.write(tags)
            with path.open(encoding="utf-8", newline="") as file:
                lines[suffix] = file.read()
    rows = [json.loads(line) for line in lines[".jsonl"].splitlines()]
    for found, wanted in zip(rows, tags.to_pylist(), strict=True):
        assert list(found) == tags.column_names
        assert (found["image_id"], found["uri"]) == (wanted["image_id"], wanted["uri"])
        for name in tags.column_names[2:]:
            assert _same(found[name], wanted[name])
            # 1 and 0 are written as 1.0 and 0.0, or a reader takes the column for whole numbers.
            assert not isinstance(found[name], int)
    header, *cells_of = csv.reader(io.StringIO(lines[".csv"], newline=""), strict=True)
    assert header == [harmless(name) for name in tags.column_names]
    for sheet_row, wanted in zip(cells_of, tags.to_pylist(), strict=True):
        assert sheet_row[:2] == [harmless(wanted["uri"])] * 2
        for text, name in zip(sheet_row[2:], tags.column_names[2:], strict=True):
            assert _same(float(text) if text else None, wanted[name])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_reads_back_what_was_written(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"tags{suffix}"
    with tag_writer(path, suffix) as writer:
        writer.write(table(NASTY[:4]))
        writer.write(table([]))
        writer.write(table(NASTY[4:]))
    expected = [*table(NASTY[:4]).to_pylist(), *table(NASTY[4:]).to_pylist()]
    rows = list(read_tags(path))
    assert [row.keys() for row in rows] == [row.keys() for row in expected]
    assert pa.Table.from_pylist(rows, schema=SCORES).to_pylist() == expected


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_without_a_tag_reads_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"tags{suffix}"
    with tag_writer(path, suffix) as writer:
        writer.write(table([]))
    assert list(read_tags(path)) == []


@pytest.mark.parametrize("header", ["a,b", "image_id,uri,cat", " "])
def test_a_table_of_something_else_without_rows_is_none_of_tags(
    header: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"{header}\n", encoding="utf-8")
    with pytest.raises(ScoringError, match="not a readable file of tags"):
        list(read_tags(path))


@pytest.mark.parametrize("number", ["-1", "+2.5", "-1e-05", "0", "-007"])
def test_numbers_are_as_they_are_in_a_csv(tmp_path: Path, number: str) -> None:
    path = tmp_path / "tags.csv"
    with tag_writer(path, ".csv") as writer:
        writer.write(table([number]))
    with path.open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["label_key"] == number
    assert [row["label_key"] for row in read_tags(path)] == [number]


def test_no_cell_of_a_csv_begins_like_a_formula(tmp_path: Path) -> None:
    path = tmp_path / "tags.csv"
    with tag_writer(path, ".csv") as writer:
        writer.write(table(NASTY))
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == SCORES.names
    assert len(rows) == len(NASTY)
    assert not [cell for row in rows for cell in row if cell.startswith(tuple("=+-@\t\r"))]


@settings(max_examples=50)
@given(st.text())
def test_harmless_cells_can_be_told_from_those_that_were_changed(cell: str) -> None:
    assert harmless(cell).removeprefix("'") == cell
    if harmless(cell).startswith(tuple("=+-@\t\r")):
        float(cell)


def test_parquet_keeps_the_contract(tmp_path: Path) -> None:
    path = tmp_path / "tags.parquet"
    with tag_writer(path, ".parquet") as writer:
        writer.write(table(["a"]))
    assert pq.read_schema(path).remove_metadata() == SCORES.remove_metadata()


def test_unknown_formats_and_damaged_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match=r"unknown format '.xlsx': name the file .parquet"):
        require_suffix(tmp_path / "tags.xlsx")
    for name, content in {
        "a.parquet": "no",
        "b.jsonl": "{",
        "c.csv": "x,y\n1,2\n",
        "d.jsonl": "[1]",
    }.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(ScoringError, match="not a readable file of tags"):
            list(read_tags(tmp_path / name))
    with pytest.raises(ScoringError, match=r"gone.csv: no such file of tags"):
        list(read_tags(tmp_path / "gone.csv"))
