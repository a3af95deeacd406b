"""Caption files: good lines come through, bad ones are named by line, unreadable files refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.errors import TextError
from taistore.texts.ingest.caption_files import (
    EMPTY,
    MALFORMED,
    BadLine,
    Caption,
    count_lines,
    read_captions,
)


def _write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        '{"text": " a  dog ", "labels": ["dog", "cat"]}',
        "",
        '{"caption": "a cat", "image_id": 7}',
        '{"caption": "a cat", "labels": null}',
        '{"text": "nothing", "labels": []}',
        '{"text": "a d',
        '["a dog"]',
        '{"text": 5}',
        '{"title": "a dog"}',
        '{"text": "a dog", "labels": "dog"}',
        '{"text": "a dog", "labels": [3]}',
        '{"text": "  "}',
        '{"text": "\\ud800"}',
        '{"text": "two\\nlines"}',
    ]
    read = list(read_captions(_write(tmp_path, "a.jsonl", "\ufeff" + "\r\n".join(lines))))
    assert read[:4] == [
        Caption(1, "a dog", ("dog", "cat")),
        Caption(3, "a cat"),
        Caption(4, "a cat"),
        Caption(5, "nothing", ()),
    ]
    bad = [line for line in read if isinstance(line, BadLine)]
    assert [line.line for line in bad] == [6, 7, 8, 9, 10, 11, 12, 13]
    assert [line.reason for line in bad] == [MALFORMED] * 6 + [EMPTY, MALFORMED]
    assert read[-1] == Caption(14, "two lines")


def test_txt_with_a_line_that_is_not_utf8(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.txt", b"ein Hund\n\ncaf\xe9\n" + "犬\n".encode())
    one, two, three = read_captions(path)
    assert (one, three) == (Caption(1, "ein Hund"), Caption(4, "犬"))
    assert isinstance(two, BadLine)
    assert (two.line, two.reason) == (3, MALFORMED)
    assert count_lines(path) == 5


def test_tsv_without_header_takes_the_last_column(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.tsv", 'x.jpg#0\tA 5" disc, a "dog\nx.jpg#1\tA cat\n')
    assert list(read_captions(path)) == [Caption(1, 'A 5" disc, a "dog'), Caption(2, "A cat")]


def test_csv_with_header_labels_and_quotes(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        "a.csv",
        'image,Caption,labels\n1,"a dog, a cat",dog| cat|\n2,"two\nlines",\n3,a bird\n4\n',
    )
    read = list(read_captions(path))
    assert read[:3] == [
        Caption(2, "a dog, a cat", ("dog", "cat")),
        Caption(3, "two lines"),
        Caption(5, "a bird"),
    ]
    assert isinstance(read[3], BadLine)
    assert (read[3].line, read[3].reason) == (6, MALFORMED)


def test_csv_with_an_open_quote_keeps_what_was_good(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.csv", 'text\na dog\n"a cat\nand more\n')
    good, bad = read_captions(path)
    assert good == Caption(2, "a dog")
    assert isinstance(bad, BadLine)
    assert bad.line == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.txt", "missing.txt: no such caption file: check the path"),
        ("folder.txt", "folder.txt is a directory"),
        ("a.docx", "a.docx: captions are read from .jsonl, .txt, .tsv and .csv"),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.txt").mkdir()
    _write(tmp_path, "a.docx", "x")
    with pytest.raises(TextError, match=message):
        read_captions(tmp_path / name)


@given(
    st.lists(
        st.text(st.characters(codec="utf-8")).filter(lambda text: text.strip()),
        max_size=5,
    )
)
def test_json_captions_come_back_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    content = "\n".join(json.dumps({"text": text}) for text in texts)
    path = _write(tmp_path_factory.getbasetemp(), "whole.jsonl", content)
    read = [line.text for line in read_captions(path) if isinstance(line, Caption)]
    assert read == [" ".join(text.split()) for text in texts]


@given(content=st.binary(max_size=200), ending=st.sampled_from(["jsonl", "txt", "tsv", "csv"]))
def test_no_bytes_raise(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    path = _write(tmp_path_factory.getbasetemp(), f"any.{ending}", content)
    for line in read_captions(path):
        assert line.line >= 1
        assert isinstance(line, BadLine) or line.text.encode()
