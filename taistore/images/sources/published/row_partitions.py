"""Rows of images gathered on disk, however they are scattered over a file, in bounded memory.

Rows are written to temporary files by a hash of their image's id, so that all rows of one image
are in one file; each file is then sorted in memory by itself. R rows.
"""

import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_TYPES: Any = {"image": pa.binary(), "label": pa.int32(), "positive": pa.bool_()}
_SCHEMA = pa.schema(_TYPES)
_MAX_FILES = 512


class ImageRows(NamedTuple):
    """What rows say of one image: label ids, ascending; ``both`` are positive and negative."""

    image: bytes
    positives: list[int]
    negatives: list[int]
    both: list[int]


class RowPartitions:
    """Takes rows in blocks, gives them back by image; a context manager that removes its files.

    ``files`` is how many are kept open while rows come in. Which image comes when depends on the
    images and on ``files`` alone, not on the order of rows.
    """

    def __init__(self, files: int) -> None:
        self._count = max(1, min(files, _MAX_FILES))
        self._folder = ExitStack()
        self._writing = ExitStack()
        self._writers: list[pa.RecordBatchStreamWriter] = []
        self._paths: list[Path] = []

    def __enter__(self) -> Self:
        folder = self._folder.enter_context(tempfile.TemporaryDirectory(prefix="taistore-rows-"))
        self._paths = [Path(folder, f"{number}.arrow") for number in range(self._count)]
        for path in self._paths:
            sink = self._writing.enter_context(pa.OSFile(str(path), "wb"))
            self._writers.append(self._writing.enter_context(pa.ipc.new_stream(sink, _SCHEMA)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        with self._folder:
            self._writing.close()

    def add(
        self,
        images: Any,
        label_R: NDArray[np.int32],
        positive_R: NDArray[np.bool_],
    ) -> None:
        """Rows of a block: dictionary-encoded ids of images, as bytes [R], labels and values."""
        ids: list[bytes] = images.dictionary.to_pylist()
        # Python's own hash of bytes differs from run to run, this one does not.
        file_of = np.array([zlib.crc32(i) % self._count for i in ids], dtype=np.int16)
        file_R = file_of[images.indices.to_numpy(zero_copy_only=False)]
        order_R = np.argsort(file_R, kind="stable")
        batch = pa.record_batch(
            [images.cast(pa.binary()), pa.array(label_R), pa.array(positive_R)], schema=_SCHEMA
        ).take(order_R)
        ends = np.cumsum(np.bincount(file_R, minlength=self._count))
        start = 0
        for writer, end in zip(self._writers, ends.tolist(), strict=True):
            if end > start:
                writer.write_batch(batch.slice(start, end - start))
            start = end

    def __iter__(self) -> Iterator[ImageRows]:
        """Every image once; nothing can be added afterwards."""
        self._writing.close()
        for path in self._paths:
            with pa.OSFile(str(path), "rb") as file:
                table = pa.ipc.open_stream(file).read_all()
            path.unlink()
            if table.num_rows:
                yield from _by_image(table)


def _by_image(table: pa.Table) -> Iterator[ImageRows]:
    images: Any = table["image"].combine_chunks().dictionary_encode()
    order = pc.array_sort_indices(images.dictionary)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    image_R = rank[images.indices.to_numpy()]
    label_R = table["label"].to_numpy()
    positive_R = table["positive"].to_numpy()
    order_R = np.lexsort((label_R, image_R))
    image_R, label_R, positive_R = image_R[order_R], label_R[order_R], positive_R[order_R]
    new_R = np.ones(len(order_R), dtype=np.bool_)
    new_R[1:] = (np.diff(image_R) != 0) | (np.diff(label_R) != 0)
    # From here on one row per image and label: whether any of its rows, or every one, is positive.
    starts = np.flatnonzero(new_R)
    some = np.logical_or.reduceat(positive_R, starts)
    every = np.logical_and.reduceat(positive_R, starts)
    image, label = image_R[starts], label_R[starts]
    ends = np.searchsorted(image, np.arange(len(order)), side="right")
    start = 0
    for name, end in zip(images.dictionary.take(order).to_pylist(), ends.tolist(), strict=True):
        here = slice(start, end)
        yield ImageRows(
            name,
            label[here][every[here]].tolist(),
            label[here][~some[here]].tolist(),
            label[here][some[here] & ~every[here]].tolist(),
        )
        start = end
