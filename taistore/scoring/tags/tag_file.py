"""Files of tags in the making: Parquet, JSON Lines and CSV.

CSV is made to be opened in a spreadsheet: a text cell that begins with ``=``, ``+``, ``-``, ``@``,
tab or carriage return would run as a formula there and gets a leading apostrophe. Reading
takes it off again.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

import pyarrow as pa
import pyarrow.parquet as pq

from taistore.contracts import SCORES
from taistore.errors import ScoringError

SUFFIXES = (".parquet", ".jsonl", ".csv")
"""What an output file may be called; the suffix decides the format."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

TEXT_COLUMNS = tuple(field.name for field in SCORES if pa.types.is_string(field.type))
"""All other columns are numbers, in either layout."""


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
    return _CsvTags(path, schema) if suffix == ".csv" else _JsonTags(path, schema)


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


class _TextTags:
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._names = schema.names
        self._numbers = [field.name for field in schema if pa.types.is_floating(field.type)]
        self._file: IO[str] = path.open("w", encoding="utf-8", newline="")

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

    def _rows(self, tags: pa.Table) -> Iterator[dict[str, Any]]:
        for row in tags.select(self._names).to_pylist():
            for name in self._numbers:
                row[name] = _short(row[name])
            yield row


class _JsonTags(_TextTags):
    def write(self, tags: pa.Table) -> None:
        for row in self._rows(tags):
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


class _CsvTags(_TextTags):
    def __init__(self, path: Path, schema: pa.Schema) -> None:
        super().__init__(path, schema)
        self._texts = [name for name in TEXT_COLUMNS if name in self._names]
        self._writer = csv.writer(self._file)
        self._writer.writerow(map(harmless, self._names))

    def write(self, tags: pa.Table) -> None:
        for row in self._rows(tags):
            for name in self._texts:
                row[name] = harmless(row[name])
            self._writer.writerow(row.values())


def harmless(cell: str) -> str:
    """A text cell that no spreadsheet takes for a formula.

    >>> harmless("=1+1"), harmless("dog")
    ("'=1+1", 'dog')
    """
    # An apostrophe that was there already is doubled, so that reading can tell the two apart.
    return f"'{cell}" if cell.startswith((*FORMULA_STARTS, "'")) else cell


def _short(score: float | None) -> float | None:
    """A float32 with the few digits that identify it: 0.9 and not 0.8999999761581421."""
    return float(f"{score:.9g}") if score else score
