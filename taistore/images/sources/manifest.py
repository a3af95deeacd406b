"""A manifest as a source: a file that lists images with their labels, one row each."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from taistore.errors import ManifestError
from taistore.images.sources.listing import image_path, reading
from taistore.images.sources.row_labels import (
    COLUMNS,
    AnnotationReader,
    RowError,
    require_known_columns,
)
from taistore.images.sources.source import SourceImage
from taistore.labels import LabelSet
from taistore.printable import printable
from taistore.record_files import BadRecord, read_objects, read_rows
from taistore.store.rejects import Reject

MANIFEST_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")

_PARQUET_ROWS = 2048

Row = Mapping[str, Any] | RowError
"""A row by column, or what is wrong with it."""


class ManifestSource:
    """Images listed in a ``.jsonl``, ``.csv`` or ``.parquet`` file.

    Columns: ``image`` (a path, absolute or relative to the manifest), ``labels`` (all labels of
    the image) or ``positives`` and ``negatives`` (those that are known), each a list of names,
    synonyms or keys, in CSV separated by ``|``; optionally ``split``. Other columns are left
    alone. Or one column per label with 1 (present), 0 (absent) or -1 (unknown) and no column that
    is none, or in JSONL such codes by label as the object ``labels``. A row that cannot be used is
    a reject named by its line; of one that names labels which the set lacks the others are taken.
    Iterating raises :class:`ManifestError` when the file as a whole cannot be read.
    """

    def __init__(self, path: str | Path, labels: LabelSet) -> None:
        self._path = os.path.realpath(path)
        self._folder = str(Path(self._path).parent)
        self._reader = AnnotationReader(labels)

    @property
    def name(self) -> str:
        """The manifest's absolute path."""
        return self._path

    @property
    def ignored(self) -> int:
        """Always 0: every row is an image or a reject."""
        return 0

    @property
    def notes(self) -> tuple[str, ...]:
        """None: whatever is to be said is said of a row."""
        return ()

    def count(self) -> int | None:
        """Number of rows, as far as counting lines can tell."""
        with reading(self._path, "manifest"):
            if self._path.lower().endswith(".parquet"):
                import pyarrow.parquet as pq

                return int(pq.read_metadata(self._path).num_rows)
            with Path(self._path).open("rb") as file:
                lines = sum(1 for line in file if line.strip())
            return max(lines - self._path.lower().endswith(".csv"), 0)

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        """One item per row, in the order of the file."""
        rows = 0
        with reading(self._path, "manifest"):
            for place, row in self._rows():
                rows += 1
                name = printable(f"{self._path}: {place}")
                try:
                    yield self._image(row, name)
                except RowError as error:
                    yield Reject(
                        uri=name,
                        reason=error.reason,
                        detail=printable(f"{place}: {error}"),
                    )
        if not rows:
            raise ManifestError(f"{self._path}: the manifest has no rows: list one image a row")

    def _image(self, row: Row, name: str) -> SourceImage:
        if isinstance(row, RowError):
            raise row
        self._reader.label_columns(tuple(row))
        unknown: list[str] = []
        return SourceImage(
            uri=image_path(self._folder, row.get("image")),
            annotation=self._reader.annotation(row, wide=True, unknown=unknown),
            split=self._reader.split(row),
            unknown_labels=tuple(dict.fromkeys(unknown)),
            row=name,
        )

    def _rows(self) -> Iterator[tuple[str, Row]]:
        suffix = Path(self._path).suffix.lower()
        if suffix == ".csv":
            return _csv_rows(self._path, self._reader)
        if suffix == ".parquet":
            return _parquet_rows(self._path, self._reader)
        return _json_rows(self._path)


def _json_rows(path: str) -> Iterator[tuple[str, Row]]:
    for record in read_objects(path):
        row = _malformed(record.detail) if isinstance(record, BadRecord) else record.value
        yield f"line {record.line}", row


def _csv_rows(path: str, annotations: AnnotationReader) -> Iterator[tuple[str, Row]]:
    header: list[str] = []
    for record in read_rows(path, delimiter=","):
        place = f"line {record.line}"
        if isinstance(record, BadRecord):
            if not header:
                raise _malformed(f"{place}, the header: {record.detail}")
            yield place, _malformed(record.detail)
        elif not header:
            header = _header(record.value)
            _require_image_column(header, annotations)
        elif len(record.value) != len(header):
            wrong = f"{len(record.value)} fields where the header has {len(header)}"
            yield place, _malformed(f"{wrong}: quote fields that hold commas")
        else:
            yield place, dict(zip(header, record.value, strict=True))


def _header(fields: list[str]) -> list[str]:
    # Labels are found whatever their case, but their keys only as they are.
    header = [field.strip() for field in fields]
    return [field.lower() if field.lower() in COLUMNS else field for field in header]


def _require_image_column(columns: list[str], annotations: AnnotationReader) -> None:
    if "image" not in columns:
        require_known_columns(tuple(columns))
        there = ", ".join(map(repr, columns))[:120]
        raise RowError(f"no column 'image' (there are: {there})", reason="malformed")
    twice = [column for column in COLUMNS if columns.count(column) > 1]
    if twice:
        raise RowError(f"column {twice[0]!r} is there twice: remove one", reason="malformed")
    annotations.label_columns(tuple(columns))


def _parquet_rows(path: str, annotations: AnnotationReader) -> Iterator[tuple[str, Row]]:
    import pyarrow.parquet as pq

    number = 0
    with Path(path).open("rb") as raw, pq.ParquetFile(raw) as file:
        columns = list(file.schema_arrow.names)
        _require_image_column(columns, annotations)
        labels = annotations.label_columns(tuple(columns))
        wanted = [column for column in columns if column in COLUMNS or column in labels]
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=wanted):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row


def _malformed(detail: str) -> RowError:
    return RowError(detail, reason="malformed")
