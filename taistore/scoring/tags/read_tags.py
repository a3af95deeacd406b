"""Files of tags read back, whichever format and layout they have."""

import csv
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taistore.contracts import SCORES
from taistore.errors import ScoringError
from taistore.labels import LabelSet
from taistore.scoring.tags.tag_file import TEXT_COLUMNS, require_suffix
from taistore.scoring.tags.wide import BLOCK_CELLS, is_wide, narrow

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
    for batch in tag_tables(path, labels):
        yield from (row for row in batch.to_pylist() if row["rank"] > 0)


def count_images(path: Path) -> int:
    """How many images have tags in a file."""
    return sum(int((batch.column("rank").to_numpy() == 1).sum()) for batch in tag_tables(path))


def tag_tables(path: Path, labels: LabelSet | None = None) -> Iterator[pa.Table]:
    """Rows of ``contracts.SCORES``, in a wide file also those of rank 0: images without tags.

    As :func:`read_tags`.
    """
    suffix = require_suffix(path)
    try:
        for table in _parquet(path) if suffix == ".parquet" else _text(path, suffix):
            if table.num_rows and is_wide(table.column_names):
                yield narrow(table, labels)
            else:
                yield table.select(SCORES.names).cast(SCORES)
    except _UNREADABLE as error:
        raise ScoringError(
            f"{path}: not a readable file of tags ({error}): score again, or name the file that "
            "'taistore score' wrote"
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
    return min(_READ_ROWS, max(1, BLOCK_CELLS // columns))
