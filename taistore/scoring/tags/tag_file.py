"""Files of tags in the making: Parquet, JSON Lines and CSV.

CSV is made to be opened in a spreadsheet: a text cell that begins with ``=``, ``+``, ``-``, ``@``,
tab or carriage return would run as a formula there and gets a leading apostrophe, unless it is a
number. Reading takes it off again.
"""

import csv
import io
import itertools
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taistore.contracts import SCORES
from taistore.errors import ScoringError

SUFFIXES = (".parquet", ".jsonl", ".csv")
"""What an output file may be called; the suffix decides the format."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")

TEXT_COLUMNS = tuple(field.name for field in SCORES if pa.types.is_string(field.type))
"""All other columns are numbers, in either layout."""

_CELLS_AT_ONCE = 2**20
"""Cells that are turned into text at once."""


class TagWriter(Protocol):
    """Writes tables of one schema one after another; a context manager."""

    def __enter__(self) -> Self:
        """Open the file."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Close the file."""
        ...

    def write(self, tags: pa.Table) -> None:
        """Append rows."""
        ...


def require_suffix(path: Path) -> str:
    """The suffix of an output file; raises :class:`ScoringError` on one of no known format."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ScoringError(
            f"{path}: unknown format {path.suffix!r}: name the file {', '.join(SUFFIXES[:-1])} or "
            f"{SUFFIXES[-1]}"
        )
    return suffix


def tag_writer(path: Path, suffix: str, *, schema: pa.Schema = SCORES) -> TagWriter:
    """A writer of a format of :data:`SUFFIXES`, whatever ``path`` itself is called.

    ``schema`` holds :data:`TEXT_COLUMNS` or some of them, and numbers.
    """
    if suffix == ".parquet":
        return _ParquetTags(path, schema)
    file = path.open("w", encoding="utf-8", newline="")
    return _CsvTags(file, schema) if suffix == ".csv" else _JsonTags(file, schema)


def json_lines(stream: IO[str], schema: pa.Schema) -> TagWriter:
    """A writer of JSON Lines to a stream that is open; as a context manager it would close it."""
    return _JsonTags(stream, schema)


class _ParquetTags:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._writer.close()

    def write(self, tags: pa.Table) -> None:
        self._writer.write_table(tags.select(self._schema.names).cast(self._schema))


class _TextTags(ABC):
    """Rows of text, put together a column at a time: a wide file has millions of numbers."""

    def __init__(self, file: IO[str], schema: pa.Schema) -> None:
        self._names = schema.names
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._file.close()

    def write(self, tags: pa.Table) -> None:
        tags = tags.select(self._names)
        rows = max(1, _CELLS_AT_ONCE // len(self._names))
        for start in range(0, tags.num_rows, rows):
            block = tags.slice(start, rows)
            pieces = self._pieces(list(_cells(block, self._text, self._null)))
            lines = pc.binary_join_element_wise(*pieces, "")
            self._file.writelines(lines.to_pylist())

    _null = ""
    """What stands where there is no number."""

    @abstractmethod
    def _text(self, text: str) -> str:
        """A cell of text as it stands in the file."""

    @abstractmethod
    def _pieces(self, columns: list[Any]) -> list[Any]:
        """What the lines are made of: the columns' cells, and what stands between them."""


class _JsonTags(_TextTags):
    _null = "null"

    def _text(self, text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    def _pieces(self, columns: list[Any]) -> list[Any]:
        pieces: list[Any] = []
        for before, name, column in zip(
            itertools.chain("{", itertools.repeat(", ")), self._names, columns, strict=False
        ):
            pieces += [f"{before}{self._text(name)}: ", column]
        return [*pieces, "}\n"]


class _CsvTags(_TextTags):
    def __init__(self, file: IO[str], schema: pa.Schema) -> None:
        super().__init__(file, schema)
        csv.writer(self._file).writerow(map(harmless, self._names))

    def _text(self, text: str) -> str:
        line = io.StringIO()
        csv.writer(line).writerow([harmless(text), ""])
        return line.getvalue().removesuffix(",\r\n")

    def _pieces(self, columns: list[Any]) -> list[Any]:
        pieces = [piece for column in columns for piece in (column, ",")]
        return [*pieces[:-1], "\r\n"]


def _cells(tags: pa.Table, text: Callable[[str], str], null: str) -> Iterator[Any]:
    """The cells of each column as they are written, all numbers of one type turned at once."""
    numbers = {
        i: field.type for i, field in enumerate(tags.schema) if field.name not in TEXT_COLUMNS
    }
    turned: dict[int, Any] = {}
    for kind in set(numbers.values()):
        places = [i for i, of in numbers.items() if of == kind]
        chunks = [chunk for i in places for chunk in tags.column(i).chunks]
        flat = _number_texts(pa.concat_arrays(chunks), null)
        turned |= {i: flat.slice(n * tags.num_rows, tags.num_rows) for n, i in enumerate(places)}
    for i, column in enumerate(tags.columns):
        if i in turned:
            yield turned[i]
        else:
            unlike = column.combine_chunks().dictionary_encode()
            written = pa.array([text(str(v)) for v in unlike.dictionary.to_pylist()], pa.string())
            yield written.take(unlike.indices)


def _number_texts(numbers: Any, null: str) -> Any:
    """Numbers in the few digits that identify them: 0.9 and not 0.8999999761581421."""
    texts = numbers.cast(pa.string())
    if pa.types.is_floating(numbers.type):
        # Readers guess a column's type by its first numbers: 1 would be whole, 1.0 is not.
        whole = pc.equal(pc.floor(numbers), numbers)
        if pc.any(whole).as_py():
            plain = pc.match_substring_regex(texts, r"^-?[0-9]+$")
            texts = pc.if_else(plain, pc.binary_join_element_wise(texts, ".0", ""), texts)
    return texts.fill_null(null)


def harmless(cell: str) -> str:
    """A text cell that no spreadsheet takes for a formula.

    >>> harmless("=1+1"), harmless("dog"), harmless("-1")
    ("'=1+1", 'dog', '-1')
    """
    if _NUMBER.fullmatch(cell):
        return cell
    # An apostrophe that was there already is doubled, so that reading can tell the two apart.
    return f"'{cell}" if cell.startswith((*FORMULA_STARTS, "'")) else cell
