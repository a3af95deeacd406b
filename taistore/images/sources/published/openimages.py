"""OpenImages' image-level labels as a source: verified positives and negatives, the rest unknown.

R rows of a block.
"""

import csv
import math
import os
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as pa_csv

from taistore.errors import ManifestError
from taistore.images.sources.listing import photo_folder, reading
from taistore.images.sources.published.annotated_source import AnnotatedSource
from taistore.images.sources.published.row_partitions import ImageRows, RowPartitions
from taistore.images.sources.row_labels import RowError
from taistore.images.sources.source import Annotation, SourceImage
from taistore.labels import LabelSet
from taistore.printable import printable
from taistore.store.rejects import Reject

COLUMNS = ("ImageID", "LabelName", "Confidence")

_BLOCK_BYTES = 2**20
_PARTITION_BYTES = 16 * 2**20
_PROBED = 1000
_SUBSETS = ("train", "validation", "test")


class OpenImagesSource(AnnotatedSource):
    """Images of a CSV ``ImageID,Source,LabelName,Confidence``; nothing in it is ever complete.

    ``Confidence`` 1 makes the label (by its key, the MID) present, 0 absent; fractions, which
    machines wrote, say nothing here and are counted, and so are rows of labels outside the set.
    An image with the same label present and absent is a reject. Photos are ``<ImageID>.jpg`` in
    ``photos``, by default a folder beside the file named train, validation or test as the file is,
    or ``images``. ``split`` is every image's.

    The file is read in blocks; rows of one image may lie anywhere in it, so they are gathered in
    temporary files of about 25 bytes a row. Raises :class:`ManifestError` while iterating where
    the file is no such CSV or has no label of the set.
    """

    def __init__(
        self,
        path: str | Path,
        labels: LabelSet,
        *,
        photos: str | Path | None = None,
        split: str | None = None,
    ) -> None:
        self._file = Path(os.path.realpath(path))
        self._labels = labels
        self._split = split
        with reading(str(self._file), "annotation file"):
            names = _first_images(self._file)
        subset = next((s for s in _SUBSETS if s in self._file.name.lower()), "images")
        beside = [
            parent / name
            for parent in (self._file.parent, self._file.parent.parent)
            for name in (subset, f"images/{subset}", "images")
        ]
        folders = [*beside, self._file.parent] if photos is None else [Path(photos)]
        super().__init__(
            str(self._file),
            photos=photo_folder(str(self._file), folders, names, given=photos is not None),
        )

    def _start(self) -> None:
        super()._start()
        self._rows = self._outside = self._unsure = 0
        # Numbers of broken rows: the reader leaves them out, and later rows are counted on.
        self._skipped = array("q")

    def _own_notes(self) -> list[str]:
        return [
            f"{self._path}: {self._outside:,} of {self._rows:,} rows have a label outside the set "
            "and were left out"
            if self._outside
            else "",
            f"{self._path}: {self._unsure:,} of {self._rows:,} rows have a Confidence between 0 "
            "and 1 and were left out: only 1 and 0 are verified"
            if self._unsure
            else "",
        ]

    def _annotated(self) -> Iterator[SourceImage | Reject]:
        with RowPartitions(self._file.stat().st_size // _PARTITION_BYTES + 1) as gathered:
            yield from self._gather(gathered)
            if self._rows == self._outside:
                raise ManifestError(
                    f"{self._path}: none of its {self._rows:,} rows has a label of the set: the "
                    "keys of the labels must be MIDs such as /m/0bt9lr (a .csv of labels with the "
                    "columns LabelName and DisplayName)"
                )
            for rows in gathered:
                yield self._image(rows)

    def _image(self, rows: ImageRows) -> SourceImage | Reject:
        name = rows.image.decode(errors="backslashreplace")
        try:
            if not name.strip() or Path(name).name != name:
                raise RowError(f"ImageID {name!r:.80} is no file's name", reason="bad_name")
            uri = self._photo(f"{name}.jpg", field="ImageID")
        except RowError as error:
            uri = printable(f"{self._path}: image {name:.80}")
            return Reject(uri=uri, reason=error.reason, detail=printable(str(error)))
        if rows.both:
            key = self._labels[rows.both[0]].key
            return Reject(
                uri=printable(uri),
                reason="conflict",
                detail=printable(
                    f"{self._path}: label {key!r} is both 1 and 0 for this image: remove one"
                ),
            )
        known = Annotation(positives=tuple(rows.positives), negatives=tuple(rows.negatives))
        return SourceImage(uri=uri, annotation=known, split=self._split)

    def _gather(self, gathered: RowPartitions) -> Iterator[Reject]:
        """Read the file into partitions; rows that cannot be read are the rejects."""
        keys = pa.array([key.encode() for key in self._labels.keys])
        broken: list[pa_csv.InvalidRow] = []

        def set_aside(row: pa_csv.InvalidRow) -> str:
            broken.append(row)
            return "skip"

        for block in _blocks(self._file, set_aside):
            yield from self._broken(broken)
            known_R, faults = _values(block["Confidence"])
            for row, value in faults:
                yield self._reject(
                    f"row {self._number(self._rows + row)}",
                    f"Confidence is {value!r:.40}: it must be a number from 0 to 1",
                )
            label_R = pc.index_in(block["LabelName"], value_set=keys)
            inside_R = label_R.is_valid().to_numpy(zero_copy_only=False)
            self._rows += block.num_rows
            self._outside += int((~inside_R).sum())
            self._unsure += int((np.isnan(known_R) & inside_R).sum())
            keep_R = inside_R & ((known_R == 1) | (known_R == 0))
            if keep_R.any():
                rows = np.flatnonzero(keep_R)
                gathered.add(
                    block["ImageID"].take(rows).dictionary_encode(),
                    label_R.take(rows).to_numpy(),
                    known_R[keep_R] == 1,
                )
        yield from self._broken(broken)

    def _broken(self, rows: list[pa_csv.InvalidRow]) -> Iterator[Reject]:
        for row in rows:
            # It is counted from the header, as the file is read by one thread.
            number = (row.number or 0) - 1
            self._skipped.append(number)
            yield self._reject(
                f"row {number}",
                f"{row.actual_columns} fields where the header has {row.expected_columns}",
            )
        rows.clear()

    def _number(self, readable: int) -> int:
        """The number, from 1, of the row that is preceded by so many readable ones."""
        skipped = np.frombuffer(self._skipped, dtype=np.int64)
        before = skipped - np.arange(1, len(skipped) + 1)
        return readable + 1 + int(np.searchsorted(before, readable, side="right"))

    def _reject(self, place: str, fault: str) -> Reject:
        return Reject(
            uri=printable(f"{self._path}: {place}"), reason="malformed", detail=printable(fault)
        )


def _first_images(path: Path) -> list[str]:
    """Names of the first photos; raises :class:`RowError` where a column is missing."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.reader(file)
        try:
            header = next(rows, [])
            if missing := [column for column in COLUMNS if column not in header]:
                raise RowError(
                    f"line 1: no column {missing[0]!r}: the header must be "
                    "ImageID,Source,LabelName,Confidence",
                    reason="malformed",
                )
            column = header.index("ImageID")
            first = [row[column] for row in islice(rows, _PROBED) if len(row) > column]
        except csv.Error as error:
            raise RowError(f"line {rows.line_num}: not CSV: {error}", reason="malformed") from None
    return [f"{name}.jpg" for name in first]


def _blocks(path: Path, set_aside: Any) -> Iterator[pa.RecordBatch]:
    # One thread: rows keep their order and broken ones their numbers. Bytes and not text: what is
    # not UTF-8 spoils its row, not the file.
    with pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        parse_options=pa_csv.ParseOptions(invalid_row_handler=set_aside),
        convert_options=pa_csv.ConvertOptions(
            include_columns=list(COLUMNS), column_types=dict.fromkeys(COLUMNS, pa.binary())
        ),
    ) as blocks:
        yield from blocks


def _values(
    confidence: "pa.Array[Any]",
) -> tuple[NDArray[np.float64], list[tuple[int, str]]]:
    """1, 0 or NaN (a fraction or a fault) for each row [R], and the faults by row."""
    texts: Any = confidence.dictionary_encode()
    values = [_confidence(text) for text in texts.dictionary.to_pylist()]
    code_R = texts.indices.to_numpy(zero_copy_only=False)
    faulty = [i for i, value in enumerate(values) if value is None]
    rows = np.flatnonzero(np.isin(code_R, faulty)) if faulty else np.empty(0, np.int64)
    faults = [
        (int(row), texts.dictionary[int(code_R[row])].as_py().decode(errors="replace"))
        for row in rows
    ]
    known = np.array([v if v in (0.0, 1.0) else math.nan for v in values], dtype=np.float64)
    return known[code_R], faults


def _confidence(text: bytes) -> float | None:
    """The number, None where it is none between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None
