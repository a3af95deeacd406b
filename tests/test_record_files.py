"""One reader of lines: any bytes are records or bad records, within bounded memory."""

import csv
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taistore.encoders.imported.vector_reader import open_vectors
from taistore.errors import EncoderError
from taistore.images.sources.manifest import ManifestSource
from taistore.labels import Label, LabelSet
from taistore.record_files import (
    BLANK,
    HAS_NUL,
    MAX_DEPTH,
    MAX_RECORD_BYTES,
    NOT_AN_OBJECT,
    NOT_UTF8,
    OPEN_QUOTE,
    TOO_DEEP,
    TOO_LONG,
    BadRecord,
    Record,
    read_lines,
    read_objects,
    read_rows,
)
from taistore.store.rejects import Reject
from taistore.texts.ingest.caption_files import BadLine, read_captions

Reader = Callable[[Path], Iterator[Record[Any] | BadRecord]]
READERS: tuple[Reader, ...] = (
    read_lines,
    read_objects,
    lambda path: read_rows(path, delimiter=","),
    lambda path: read_rows(path, delimiter="\t"),
)
LABELS = LabelSet([Label("/m/1", "cat"), Label("/m/2", "dog")])

_SAME_FOLDER = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_PIECES = st.sampled_from(
    [
        b"\n",
        b"\r\n",
        b"\r",
        b'"',
        b",",
        b"\t",
        b"\0",
        b"\xff",
        b"{}",
        b'{"a": 1}',
        b"[",
        "é".encode(),
    ]
)
_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), min_size=1, max_size=20
)


def _file(folder: Path, data: bytes, name: str = "f") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@_SAME_FOLDER
@given(data=st.lists(_PIECES | st.binary(max_size=5), max_size=30).map(b"".join))
def test_any_bytes_are_records_named_by_their_line(tmp_path: Path, data: bytes) -> None:
    path = _file(tmp_path, data)
    lines = len(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").splitlines())
    for reader in READERS:
        numbers = [record.line for record in reader(path)]
        assert numbers == sorted(set(numbers))
        assert all(1 <= number <= lines for number in numbers)
    assert [record.line for record in read_lines(path)] == list(range(1, lines + 1))


@_SAME_FOLDER
@given(texts=st.lists(_TEXT), end=st.sampled_from(["\n", "\r\n"]))
def test_good_lines_come_as_they_are(tmp_path: Path, texts: list[str], end: str) -> None:
    path = _file(tmp_path, "".join(text + end for text in texts).encode("utf-8-sig"))
    assert list(read_lines(path)) == [Record(i, text) for i, text in enumerate(texts, start=1)]
    path = _file(tmp_path, "".join(json.dumps({"a": text}) + end for text in texts).encode())
    assert list(read_objects(path)) == [
        Record(i, {"a": text}) for i, text in enumerate(texts, start=1)
    ]


@_SAME_FOLDER
@given(rows=st.lists(st.lists(_TEXT | st.just("two\nlines"), min_size=1, max_size=3)))
def test_good_rows_come_as_csv_reads_them(tmp_path: Path, rows: list[list[str]]) -> None:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    expected = []
    reader = csv.reader(io.StringIO(written.getvalue().replace("\r\n", "\n")), strict=True)
    start = 1
    for fields in reader:
        if "".join(fields).strip():
            expected.append(Record(start, fields))
        start = reader.line_num + 1
    path = _file(tmp_path, written.getvalue().encode())
    assert list(read_rows(path, delimiter=",")) == expected


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_the_bound_is_in_bytes_and_exact(tmp_path: Path, reader: Reader, end: bytes) -> None:
    def line(size: int) -> bytes:
        return b'{"a":1}' + b" " * (size - 7)

    many_bytes = '{"a":"' + "é" * (MAX_RECORD_BYTES // 2) + '"}'
    sizes = (MAX_RECORD_BYTES, MAX_RECORD_BYTES + 1, MAX_RECORD_BYTES * 2 + 1)
    data = end.join([*map(line, sizes), many_bytes.encode(), line(7)])
    bad = [r for r in reader(_file(tmp_path, data)) if r == BadRecord(r.line, TOO_LONG)]
    assert [record.line for record in bad] == [2, 3, 4]
    assert list(reader(_file(tmp_path, data)))[-1].line == 5


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("begin", [b"x", b'"', b'"\n', b"\xff", b"["])
def test_memory_is_bounded_whatever_the_length(
    tmp_path: Path, reader: Reader, begin: bytes
) -> None:
    path = _file(tmp_path, begin + b"x" * (24 * MAX_RECORD_BYTES) + b"\n" + b'{"a": 1}\n')
    tracemalloc.start()
    try:
        for _ in reader(path):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * MAX_RECORD_BYTES


def test_an_open_quote_is_bounded_over_its_lines(tmp_path: Path) -> None:
    row = b"a,b\n"
    path = _file(tmp_path, row + b'"open,\n' + row * MAX_RECORD_BYTES)
    first, second, third = islice(read_rows(path, delimiter=","), 3)
    assert (first, second) == (Record(1, ["a", "b"]), BadRecord(2, OPEN_QUOTE))
    skipped = MAX_RECORD_BYTES // len(row)
    assert abs(third.line - 2 - skipped) < 5
    assert third == Record(third.line, ["a", "b"])


def test_each_fault_has_one_wording(tmp_path: Path) -> None:
    deep = b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1)
    fits = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    brackets = b'{"a": "\\"' + b"[" * 500 + b'", "b": [' + b"[]," * 500 + b"[]]}"
    lines = [deep, fits, brackets, b'{"a": "\xff"}', b'{"a": "\0"}', b"[1]", b"{", b" "]
    records = list(read_objects(_file(tmp_path, b"\n".join(lines)), blank_is_bad=True))
    details = [record.detail if isinstance(record, BadRecord) else "" for record in records]
    assert details[:6] == [TOO_DEEP, "", "", NOT_UTF8, HAS_NUL, NOT_AN_OBJECT]
    assert details[6].startswith("not JSON: ")
    assert details[7] == BLANK
    path = _file(tmp_path, b"a\xff,b\n\0,b\n\n,\nc,d")
    assert list(read_rows(path, delimiter=",")) == [
        *(BadRecord(1, NOT_UTF8), BadRecord(2, HAS_NUL), Record(5, ["c", "d"]))
    ]


def test_nesting_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    # It is no JSON either, which only a parser would say.
    path = _file(tmp_path, b'{"a":' * 40_000 + b"?")
    assert list(read_objects(path)) == [BadRecord(1, TOO_DEEP)]


@pytest.mark.parametrize("name", ["c.jsonl", "c.txt", "c.tsv", "c.csv"])
@pytest.mark.parametrize(
    ("bad", "detail"),
    [(b"x" * MAX_RECORD_BYTES + b"x", TOO_LONG), (b"\xff", NOT_UTF8), (b"a\0b", HAS_NUL)],
)
def test_captions_set_the_line_aside(tmp_path: Path, name: str, bad: bytes, detail: str) -> None:
    good = b'{"text": "a cat"}'
    path = _file(tmp_path, b"\n".join([good, bad, good]), name)
    lines = list(read_captions(path))
    assert [line.line for line in lines] == [1, 2, 3]
    assert lines[1] == BadLine(2, "malformed", detail)
    assert not isinstance(lines[2], BadLine)


def test_a_first_row_that_cannot_be_read_ends_a_table_of_captions(tmp_path: Path) -> None:
    path = _file(tmp_path, b"text,caf\xe9\na cat,note\n", "c.csv")
    (only,) = read_captions(path)
    assert isinstance(only, BadLine)
    assert only.detail.startswith(NOT_UTF8)
    assert "no further row" in only.detail


@pytest.mark.parametrize(("name", "row"), [("m.jsonl", '{"image": "%s"}'), ("m.csv", "%s,cat")])
def test_manifests_set_the_row_aside(tmp_path: Path, name: str, row: str) -> None:
    head = [b"image,labels"] if name == "m.csv" else []
    rows = [(row % text).encode() for text in ("a.jpg", "x" * MAX_RECORD_BYTES, "b.jpg")]
    items = list(ManifestSource(_file(tmp_path, b"\n".join(head + rows), name), LABELS))
    assert [isinstance(item, Reject) for item in items] == [False, True, False]
    assert isinstance(items[1], Reject)
    assert items[1].detail == f"line {len(head) + 2}: {TOO_LONG}"


@pytest.mark.parametrize("name", ["ids.txt", "ids.jsonl"])
@pytest.mark.parametrize(
    ("bad", "detail"),
    [(b"x" * MAX_RECORD_BYTES + b"x", TOO_LONG), (b"\xff", NOT_UTF8), (b"a\0b", HAS_NUL)],
)
def test_ids_stop_at_file_and_line(tmp_path: Path, name: str, bad: bytes, detail: str) -> None:
    np.save(tmp_path / "v.npy", np.ones((3, 2), np.float32))
    ids = _file(tmp_path, b'{"id": "a"}\n' + bad + b'\n{"id": "c"}\n', name)
    with pytest.raises(EncoderError) as caught:
        list(open_vectors(tmp_path / "v.npy", ids))
    assert str(caught.value) == f"{ids}: line 2: {detail}"


def test_ids_keep_their_places(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((3, 2), np.float32))
    ids = _file(tmp_path, b"a\n\nc\n\n\n", "ids.txt")
    left_out: list[int] = []
    source = open_vectors(tmp_path / "v.npy", ids, on_bad=lambda bad: left_out.append(bad.row))
    (batch,) = source
    assert (batch.ids, batch.numbers, left_out) == (["a", "c"], [0, 2], [1])
    ids = _file(tmp_path, b'{"id": "a"}\n\n{"id": "c"}\n\n', "ids.jsonl")
    with pytest.raises(EncoderError, match="line 2: an empty line"):
        list(open_vectors(tmp_path / "v.npy", ids))
