"""Files of tags: Parquet, JSON Lines and CSV with the columns of ``contracts.SCORES``.

CSV is made to be opened in a spreadsheet: a text cell that begins with ``=``, ``+``, ``-``, ``@``,
tab or carriage return would run as a formula there and gets a leading apostrophe. ``read_tags``
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

_READ_ROWS = 8192
_TEXT_COLUMNS = tuple(field.name for field in SCORES if pa.types.is_string(field.type))


class TagWriter(Protocol):
    """Writes tables of ``contracts.SCORES`` one after another; a context manager."""

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


def tag_writer(path: Path, suffix: str) -> TagWriter:
    """A writer of a format of :data:`SUFFIXES`, whatever ``path`` itself is called."""
    if suffix == ".parquet":
        return _ParquetTags(path)
    return _CsvTags(path) if suffix == ".csv" else _JsonTags(path)


class _ParquetTags:
    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, SCORES, compression="zstd")

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
        self._writer.write_table(tags.select(SCORES.names).cast(SCORES))


class _TextTags:
    def __init__(self, path: Path) -> None:
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


class _JsonTags(_TextTags):
    def write(self, tags: pa.Table) -> None:
        for row in tags.select(SCORES.names).to_pylist():
            row["score"] = _short(row["score"])
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


class _CsvTags(_TextTags):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._writer = csv.writer(self._file)
        self._writer.writerow(SCORES.names)

    def write(self, tags: pa.Table) -> None:
        for row in tags.select(SCORES.names).to_pylist():
            row["score"] = _short(row["score"])
            for name in _TEXT_COLUMNS:
                row[name] = harmless(row[name])
            self._writer.writerow(row.values())


def harmless(cell: str) -> str:
    """A text cell that no spreadsheet takes for a formula.

    >>> harmless("=1+1"), harmless("dog")
    ("'=1+1", 'dog')
    """
    # An apostrophe that was there already is doubled, so that reading can tell the two apart.
    return f"'{cell}" if cell.startswith((*FORMULA_STARTS, "'")) else cell


def _short(score: float) -> float:
    """A float32 with the few digits that identify it: 0.9 and not 0.8999999761581421."""
    return float(f"{score:.9g}") if score else 0.0


def read_tags(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a finished file of any of the formats, one at a time in the file's order.

    Raises :class:`ScoringError` where the file is missing or is no file of tags.
    """
    suffix = require_suffix(path)
    again = "score again, or name the file that 'taistore score' wrote"
    try:
        if suffix == ".parquet":
            for batch in pq.ParquetFile(path).iter_batches(_READ_ROWS, columns=SCORES.names):
                yield from batch.to_pylist()
            return
        with path.open(encoding="utf-8", newline="") as file:
            if suffix == ".jsonl":
                for line in file:
                    row = json.loads(line)
                    yield {name: row[name] for name in SCORES.names}
                return
            for row in csv.DictReader(file, strict=True):
                texts = {name: row[name].removeprefix("'") for name in _TEXT_COLUMNS}
                yield {**texts, "rank": int(row["rank"]), "score": float(row["score"])}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, csv.Error) as error:
        raise ScoringError(f"{path}: not a readable file of tags ({error}): {again}") from error


def count_images(path: Path) -> int:
    """How many images a file of tags holds: its tags of rank 1."""
    if require_suffix(path) == ".parquet":
        batches = pq.ParquetFile(path).iter_batches(65_536, columns=["rank"])
        return sum(int((batch.column(0).to_numpy() == 1).sum()) for batch in batches)
    return sum(row["rank"] == 1 for row in read_tags(path))
