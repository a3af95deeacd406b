"""Files of tags read back, whichever format and layout they have."""

import contextlib
import csv
import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taistore.contracts import SCORES
from taistore.errors import ScoringError
from taistore.labels import LabelSet
from taistore.scoring.tags.tag_file import TEXT_COLUMNS, require_suffix
from taistore.scoring.tags.wide import BLOCK_CELLS, IMAGE_COLUMNS, is_wide, narrow

_READ_ROWS = 8192
_UNREADABLE = (
    *(OSError, ValueError, LookupError, AttributeError, TypeError, OverflowError, RecursionError),
    csv.Error,
)


def read_tags(path: Path, *, labels: LabelSet | None = None) -> Iterator[dict[str, Any]]:
    """The tags of a finished file, one at a time in the file's order.

    Of a file in the wide layout, ``labels`` say which keys its columns stand for. Raises
    :class:`ScoringError` where the file is missing or is no file of tags.
    """
    return (row for row in read_images(path, labels=labels) if row["rank"] > 0)


def read_images(path: Path, *, labels: LabelSet | None = None) -> Iterator[dict[str, Any]]:
    """As :func:`read_tags`, with a row of rank 0 for each image that a wide file has no tag of."""
    for batch in tag_tables(path, labels):
        yield from batch.to_pylist()


@dataclass(frozen=True, slots=True)
class TagCounts:
    """How many tags a file has, and of how many images; a long one has those with tags alone."""

    tags: int
    images: int

    def to_json(self) -> dict[str, int]:
        """Plain values by field name."""
        return asdict(self)


def count_tags(path: Path) -> TagCounts:
    """What is in a file of tags; loads nothing heavy."""
    tags = images = 0
    for table in _tables(path):
        if is_wide(table.column_names):
            images += table.num_rows
            tags += sum(len(c) - c.null_count for c in table.columns[len(IMAGE_COLUMNS) :])
        else:
            images += int((table.column("rank").to_numpy() <= 1).sum())
            tags += table.num_rows
    return TagCounts(tags, images)


def lists_untagged(path: Path) -> bool:
    """Whether a file has a row of each image, with a tag or without: one in the wide layout."""
    return any(is_wide(table.column_names) for table in itertools.islice(_tables(path), 1))


def count_images(path: Path) -> int:
    """How many images a file has; a long one has those with tags alone."""
    return count_tags(path).images


def tag_tables(path: Path, labels: LabelSet | None = None) -> Iterator[pa.Table]:
    """Rows of ``contracts.SCORES``, in a wide file also those of rank 0: images without tags.

    As :func:`read_tags`.
    """
    for table in _tables(path):
        with _readable(path):
            rows = narrow(table, labels) if is_wide(table.column_names) else table
        yield rows


def _tables(path: Path) -> Iterator[pa.Table]:
    """What is in a file, in pieces, with the columns of its layout."""
    suffix = require_suffix(path)
    with _readable(path):
        for table in _parquet(path) if suffix == ".parquet" else _text(path, suffix):
            wide = table.num_rows and is_wide(table.column_names)
            yield table if wide else table.select(SCORES.names).cast(SCORES)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise ScoringError(
            f"{path}: no such file of tags: check the path, or write one with 'taistore score'"
        ) from error
    except _UNREADABLE as error:
        raise ScoringError(
            f"{path}: not a readable file of tags ({error}): score again, or name a file that "
            "taistore score or taistore tag wrote"
        ) from error


def _parquet(path: Path) -> Iterator[pa.Table]:
    with pq.ParquetFile(path) as file:
        if not file.metadata.num_rows:
            yield file.schema_arrow.empty_table()
        for batch in file.iter_batches(_rows(len(file.schema_arrow.names))):
            yield pa.Table.from_batches([batch])


def _text(path: Path, suffix: str) -> Iterator[pa.Table]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True) if suffix == ".csv" else None
        rows = map(json.loads, file) if reader is None else _csv_rows(reader)
        names: list[str] = []
        for first in rows:
            some = itertools.islice(rows, _rows(len(first)) - 1)
            names = list(first)
            columns = {name: [first[name]] for name in names}
            for row in some:
                for name in names:
                    columns[name].append(row[name])
            yield pa.table({name: pa.array(v, _type(name)) for name, v in columns.items()})
        # Of a table without rows only the header tells whether it is one of tags.
        if reader is not None and reader.fieldnames and not names:
            yield pa.table({name: pa.array([], _type(name)) for name in reader.fieldnames})


def _csv_rows(reader: "csv.DictReader[str]") -> Iterator[dict[str, Any]]:
    reader.fieldnames = [name.removeprefix("'") for name in reader.fieldnames or ()]
    for row in reader:
        yield {
            name: text.removeprefix("'") if name in TEXT_COLUMNS else float(text) if text else None
            for name, text in row.items()
        }


def _type(name: str) -> pa.DataType:
    if name in TEXT_COLUMNS:
        return pa.string()
    return pa.int32() if name == "rank" else pa.float32()


def _rows(columns: int) -> int:
    """Rows read at once."""
    return min(_READ_ROWS, max(1, BLOCK_CELLS // max(1, columns)))
