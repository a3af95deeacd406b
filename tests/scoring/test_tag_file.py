"""Files of tags: every format reads back what was written, and CSV is safe in a spreadsheet."""

import csv
from pathlib import Path

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from taistore.contracts import SCORES
from taistore.errors import ScoringError
from taistore.scoring.tags.read_tags import read_tags
from taistore.scoring.tags.tag_file import SUFFIXES, harmless, require_suffix, tag_writer

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
    assert not harmless(cell).startswith(tuple("=+-@\t\r"))


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
    with pytest.raises(ScoringError, match=r"gone.csv: not a readable file of tags"):
        list(read_tags(tmp_path / "gone.csv"))
