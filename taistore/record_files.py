"""Files of one record a line (JSONL, text, TSV, CSV), good and bad records alike.

Captions, manifests and the ids of vectors are read here and nowhere else, so that one bound holds
for all and one fault has one wording. Whoever reads says what a bad record means to it.
"""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TextIO, TypeVar

MAX_RECORD_BYTES = 2**20
"""A longer record is bad, so that no file can fill the memory."""

MAX_DEPTH = 64
"""JSON nested deeper is bad: what a parser does with it depends on its version."""

NOT_UTF8 = "not UTF-8 text: save the file as UTF-8"
HAS_NUL = "holds a NUL byte: remove it"
TOO_LONG = f"too long: a record has at most {MAX_RECORD_BYTES:,} bytes: shorten it"
OPEN_QUOTE = f"{TOO_LONG}, or close its quotation mark"
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels: flatten it"
NOT_AN_OBJECT = 'not a JSON object: write {"field": "value"}'
BLANK = "an empty line: remove it"

Value = TypeVar("Value")

# A string as a whole, so that brackets in it do not count; possessive, so that it stays linear.
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)


class Record(NamedTuple, Generic[Value]):
    """A good record and the line that it begins on, from 1."""

    line: int
    value: Value


@dataclass(frozen=True, slots=True)
class BadRecord:
    """A record that cannot be used: the line that it begins on, and what is wrong with it."""

    line: int
    detail: str


def read_lines(path: str | Path) -> Iterator[Record[str] | BadRecord]:
    """Each line without its end, the blank ones too. Raises OSError as ``open`` does."""
    with _open(path) as file:
        for number, line in enumerate(_lines(file), start=1):
            if line is None:
                yield BadRecord(number, TOO_LONG)
            elif fault := _fault(line):
                yield BadRecord(number, fault)
            else:
                yield Record(number, line.removesuffix("\n"))


def read_objects(
    path: str | Path, *, blank_is_bad: bool = False
) -> Iterator[Record[dict[str, Any]] | BadRecord]:
    """A JSON object a line; blank lines are passed over, or bad where places count.

    Raises OSError as ``open`` does.
    """
    for record in read_lines(path):
        if isinstance(record, BadRecord):
            yield record
        elif record.value.strip():
            yield _parsed(record)
        elif blank_is_bad:
            yield BadRecord(record.line, BLANK)


def read_rows(
    path: str | Path, *, delimiter: Literal[",", "\t"]
) -> Iterator[Record[list[str]] | BadRecord]:
    """The fields of each row, the header too; rows without a field that says anything are left out.

    Commas part quoted fields, which may span lines. Tabs part fields that are taken as they are:
    captions hold inch marks and half quotations. Raises OSError as ``open`` does.
    """
    name = "CSV" if delimiter == "," else "TSV"
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
    # csv has a bound of its own on a field, for the whole process: it must not be the tighter one.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_RECORD_BYTES))
    with _open(path) as file:
        lines = _RowLines(file)
        reader = csv.reader(lines, delimiter=delimiter, quoting=quoting, strict=True)
        while True:
            start = lines.begin_record()
            try:
                fields = next(reader, None)
            except _TooLongError:
                yield BadRecord(start, OPEN_QUOTE if lines.number > start else TOO_LONG)
                continue
            except csv.Error as error:
                yield BadRecord(start, f"not {name}: {error}")
                continue
            if fields is None:
                return
            text = "".join(fields)
            if fault := _fault(text):
                yield BadRecord(start, fault)
            elif text.strip():
                yield Record(start, fields)


def _open(path: str | Path) -> TextIO:
    # Bytes that are not UTF-8 become lone surrogates, which mark the one record.
    return Path(path).open(encoding="utf-8-sig", errors="surrogateescape")


def _lines(file: TextIO) -> Iterator[str | None]:
    """Lines with their ends; None for one beyond the bound."""
    while line := file.readline(MAX_RECORD_BYTES + 1):
        # A character has at most four bytes, so that most lines need no closer look.
        if len(line) <= MAX_RECORD_BYTES // 4:
            yield line
            continue
        rest = line
        while len(rest) > MAX_RECORD_BYTES and not rest.endswith("\n"):
            rest = file.readline(MAX_RECORD_BYTES + 1)
        yield line if rest is line and _size(line) <= MAX_RECORD_BYTES else None


class _RowLines:
    """What csv reads from: lines, as long as those of one record keep within the bound."""

    def __init__(self, file: TextIO) -> None:
        self._lines = _lines(file)
        self._held = 0
        self.number = 0

    def begin_record(self) -> int:
        """The number of its first line."""
        self._held = 0
        return self.number + 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        if line is not None:
            self._held += len(line) if line.isascii() else _size(line) + 1
        if line is None or self._held > MAX_RECORD_BYTES + 1:
            raise _TooLongError
        return line


class _TooLongError(Exception):
    """A record beyond the bound; csv passes it on and begins anew with the next line."""


def _size(line: str) -> int:
    """Bytes of a line in the file, without its end."""
    text = line.removesuffix("\n")
    return len(text) if text.isascii() else len(text.encode(errors="surrogateescape"))


def _fault(text: str) -> str:
    if "\0" in text:
        return HAS_NUL
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return NOT_UTF8
    return ""


def _parsed(record: Record[str]) -> Record[dict[str, Any]] | BadRecord:
    if _too_deep(record.value):
        return BadRecord(record.line, TOO_DEEP)
    try:
        value = json.loads(record.value)
    except ValueError as error:
        return BadRecord(record.line, f"not JSON: {str(error).splitlines()[0][:120]}")
    if not isinstance(value, dict):
        return BadRecord(record.line, NOT_AN_OBJECT)
    return Record(record.line, value)


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        mark = found[0]
        depth += (mark in "[{") - (mark in "]}")
        if depth > MAX_DEPTH:
            return True
    return False
