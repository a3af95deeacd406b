"""Caption files (``.jsonl``, ``.txt``, ``.tsv``, ``.csv``), line by line, good and bad alike."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from taistore.errors import TextError
from taistore.labels import SYNONYM_SEPARATOR
from taistore.record_files import NOT_UTF8, BadRecord, read_lines, read_objects, read_rows

MALFORMED = "malformed"
EMPTY = "empty"

_TEXT_COLUMNS = ("text", "caption")
_LABEL_COLUMN = "labels"


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption with the labels that the file states, or None where it states none."""

    line: int
    text: str
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that holds no caption: reason code and what is wrong with it."""

    line: int
    reason: str
    detail: str


Line = Caption | BadLine


def read_captions(path: str | Path) -> Iterator[Line]:
    """The captions of a file in its order, a line at a time.

    ``.jsonl``: objects with "text" or "caption" and optional "labels" (a list of names or keys).
    ``.txt``: one caption a line. ``.tsv``, ``.csv``: the column "text" or "caption", "labels"
    separated by ``|`` if there; without a header the last column. Empty lines are passed over.
    Raises :class:`TextError` where the file cannot be read or has another ending.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], Iterator[Line]]] = {
        ".jsonl": _json_lines,
        ".txt": _text_lines,
        ".tsv": lambda path: _table_rows(path, "\t"),
        ".csv": lambda path: _table_rows(path, ","),
    }
    reader = readers.get(path.suffix.lower())
    if path.is_dir():
        raise TextError(f"{path} is a directory: give a .jsonl, .txt, .tsv or .csv file")
    if reader is None:
        raise TextError(
            f"{path}: captions are read from .jsonl, .txt, .tsv and .csv: rename or convert it"
        )
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise TextError(f"{path}: no such caption file: check the path") from None
    except PermissionError:
        raise TextError(f"{path}: no permission to read it: check the file's mode") from None
    return (_checked(line) for line in reader(path))


def count_lines(path: str | Path) -> int:
    """Lines of a file, for a progress bar."""
    with Path(path).open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) + 1


def _checked(line: Line) -> Line:
    if isinstance(line, BadLine):
        return line
    text = " ".join(line.text.split())
    if not text:
        return BadLine(line.line, EMPTY, "the caption is empty: write one or remove the line")
    try:
        text.encode()
    except UnicodeEncodeError:
        return BadLine(line.line, MALFORMED, NOT_UTF8)
    return Caption(line.line, text, line.labels)


def _text_lines(path: Path) -> Iterator[Line]:
    for record in read_lines(path):
        if isinstance(record, BadRecord):
            yield _bad(record)
        elif record.value.strip():
            yield Caption(record.line, record.value)


def _json_lines(path: Path) -> Iterator[Line]:
    for record in read_objects(path):
        if isinstance(record, BadRecord):
            yield _bad(record)
        else:
            yield _from_object(record.line, record.value)


def _from_object(number: int, row: Mapping[str, Any]) -> Line:
    texts = [row[column] for column in _TEXT_COLUMNS if column in row]
    if not texts or not isinstance(texts[0], str):
        return BadLine(number, MALFORMED, 'no "text" or "caption" that is a string')
    labels = row.get(_LABEL_COLUMN)
    if labels is None:
        return Caption(number, texts[0])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        return BadLine(number, MALFORMED, '"labels" is not a list of names')
    return Caption(number, texts[0], tuple(labels))


def _table_rows(path: Path, delimiter: Literal[",", "\t"]) -> Iterator[Line]:
    columns: tuple[int, int | None] | None = None
    for record in read_rows(path, delimiter=delimiter):
        if isinstance(record, BadRecord):
            if columns is None:
                # Nobody can tell a header, and rows read by the wrong column would look good.
                detail = f"{record.detail} (no further row is read without the first)"
                yield BadLine(record.line, MALFORMED, detail)
                return
            yield _bad(record)
            continue
        if columns is None:
            columns, is_header = _columns(record.value)
            if is_header:
                continue
        yield _from_row(record.line, record.value, columns)


def _bad(record: BadRecord) -> BadLine:
    return BadLine(record.line, MALFORMED, record.detail)


def _columns(first: list[str]) -> tuple[tuple[int, int | None], bool]:
    """Places of the caption and of its labels, and whether the first row is a header."""
    names = [cell.strip().lower() for cell in first]
    for name in _TEXT_COLUMNS:
        if name in names:
            labels = names.index(_LABEL_COLUMN) if _LABEL_COLUMN in names else None
            return (names.index(name), labels), True
    return (-1, None), False


def _from_row(number: int, row: list[str], columns: tuple[int, int | None]) -> Line:
    text, labels = columns
    if text >= len(row):
        return BadLine(
            number, MALFORMED, f"{len(row)} columns, the caption is in column {text + 1}"
        )
    if labels is None or labels >= len(row) or not row[labels].strip():
        return Caption(number, row[text])
    names = (name.strip() for name in row[labels].split(SYNONYM_SEPARATOR))
    return Caption(number, row[text], tuple(name for name in names if name))
