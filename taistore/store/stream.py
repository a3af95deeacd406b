"""Block-shuffled reads of a vector table: seeded, in bounded memory, resumable at any batch.

B batch, D embedding dimension, P positives of a batch, one after another.
"""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.store.arrow import vector_array
from taistore.store.lance_errors import reading
from taistore.store.store import Store

BLOCK_ROWS = 1024
BUFFER_ROWS = 65_536
PREFETCHED_BATCHES = 4
READ_AHEAD_BYTES = 8 * 2**20
"""A block is a few megabytes; more read-ahead than that is never used."""

Positives = tuple[NDArray[np.int64], NDArray[np.int32]]
_NON_FINITE = np.uint16(0x7C00)


class VectorBatch(NamedTuple):
    """Vectors [B, D] float16, positives per row [B] and their label ids [P], row after row.

    ``keys`` [B]: what the table holds in its key column, such as combination ids. ``rows`` [B]:
    each one's number in the stream, from 0 on, the same in every epoch.
    """

    vectors: NDArray[np.float16]
    counts: NDArray[np.int64]
    label_ids: NDArray[np.int32]
    keys: NDArray[Any]
    rows: NDArray[np.int64]


class VectorSummary(NamedTuple):
    """Mean Euclidean norm of the vectors, and the mean [D] of the vectors at unit norm."""

    mean_norm: float
    mean_unit: NDArray[np.float32]


class VectorStream:
    """Shuffled batches of one vector table at a pinned version, the same for the same seed.

    A table of up to ``buffer_rows`` rows would fill the buffer and no more, so it is read once, not
    in every epoch, and shuffled exactly: the memory is the same. A larger one is read in a seeded
    permutation of blocks of ``block_rows`` rows into a buffer of ``buffer_rows`` rows, from which
    batches are drawn at random: memory does not grow with the table. ``positives`` maps the values
    of ``key_column`` to labels; by default combination ids through
    ``store.combination_index()``; with ``label_column`` those of that column, such as the
    combinations of texts whose keys are text ids. Another table, such as images with their partial
    labels, streams by naming its ``kind``, its key and its own ``positives``; ``positions``
    (ascending) restricts the stream to those rows of the table.
    """

    def __init__(
        self,
        store: Store,
        encoder_id: str,
        *,
        batch_rows: int,
        seed: int,
        kind: str = "text_vectors",
        key_column: str = "combination_id",
        label_column: str | None = None,
        positives: Callable[[NDArray[Any]], Positives] | None = None,
        positions: NDArray[np.int64] | None = None,
        version: int | None = None,
        block_rows: int = BLOCK_ROWS,
        buffer_rows: int = BUFFER_ROWS,
    ) -> None:
        for name, value in (("batch_rows", batch_rows), ("block_rows", block_rows)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.name = store.table_name(kind, encoder_id)
        if not store.has(kind, encoder_id):
            raise StoreError(f"{store.uri}: there is no table {self.name!r}")
        self._uri = store.uri
        self._dataset = store.dataset(kind, encoder_id, version=version)
        self._columns = [key_column, *([label_column] if label_column else []), "vector"]
        self._positives = positives or store.combination_index().positives
        self._seed = seed
        self._batch_rows = batch_rows
        self._block_rows = block_rows
        # Room for a block beside a full batch: else a batch in mid-epoch could come out short.
        self._buffer_rows = max(buffer_rows, batch_rows + block_rows)
        self.version = int(self._dataset.version)
        self._positions = positions
        self.rows = int(self._dataset.count_rows()) if positions is None else len(positions)
        self._whole: tuple[NDArray[Any], ...] | None = None

    @property
    def batches_per_epoch(self) -> int:
        """Batches of an epoch; the last one may be smaller."""
        return -(-self.rows // self._batch_rows)

    def batches(self, *, epoch: int, start: int = 0) -> Iterator[VectorBatch]:
        """Batches ``start``, ``start + 1``, … of an epoch, whatever was read before.

        Raises :class:`StoreError` on a vector that is not finite or a combination that the
        store does not hold.
        """
        if self.rows <= self._buffer_rows:
            yield from self._exact(epoch, start)
        else:
            yield from _prefetched(self._blockwise(epoch, start), depth=PREFETCHED_BATCHES)

    def summary(self) -> "VectorSummary":
        """Mean norm and mean direction; of a buffer full of random blocks in a large table."""
        total, rows = 0.0, 0
        direction_D = np.zeros(self._dataset.schema.field("vector").type.list_size)
        for block in self._block_order(self._random(0)):
            vectors_BD = self._read_block(int(block))[1]
            vectors_BD = vectors_BD.astype(np.float32)
            norms_B1 = np.linalg.norm(vectors_BD, axis=1, keepdims=True)
            total += float(norms_B1.sum(dtype=np.float64))
            unit_BD = vectors_BD / np.maximum(norms_B1, np.float32(1e-12))
            direction_D += unit_BD.sum(axis=0, dtype=np.float64)
            rows += len(vectors_BD)
            if rows >= self._buffer_rows:
                break
        if not rows:
            raise StoreError(f"{self._uri}: table {self.name!r} is empty")
        return VectorSummary(total / rows, (direction_D / rows).astype(np.float32))

    def _random(self, epoch: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, epoch])

    # --- a table that fits in the buffer ---------------------------------------------------

    def _exact(self, epoch: int, start: int) -> Iterator[VectorBatch]:
        if self._whole is None:
            self._whole = self._read_whole()
        if not self._whole:
            return
        order = self._random(epoch).permutation(self.rows)
        for low in range(start * self._batch_rows, self.rows, self._batch_rows):
            rows = order[low : low + self._batch_rows]
            yield self._batch(rows, *(column[rows] for column in self._whole))

    def _read_whole(self) -> tuple[NDArray[Any], ...]:
        """Vectors and keys of all rows, filled block by block so that no vector lies here twice."""
        whole: tuple[NDArray[Any], ...] = ()
        for block in range(-(-self.rows // self._block_rows)):
            numbers, *columns = self._read_block(block)
            whole = whole or _empty(self.rows, columns)
            for column, values in zip(whole, columns, strict=True):
                column[numbers[0] : numbers[0] + len(numbers)] = values
        return whole

    # --- a table that does not ---------------------------------------------------------------

    def _blockwise(self, epoch: int, start: int) -> Iterator[VectorBatch]:
        if start >= self.batches_per_epoch:
            return
        random = self._random(epoch)
        blocks = iter(self._block_order(random).tolist())
        # The order of an epoch is a matter of row numbers alone, so that batches before `start`
        # are drawn without reading a vector; what the buffer then holds is fetched once.
        buffer = _ShuffleBuffer(self._buffer_rows, self._block_rows)
        for _ in range(start):
            buffer.fill(blocks, self._row_numbers)
            buffer.draw(self._batch_rows, random)
        if start:
            buffer.read_again(self._read_rows)
        while True:
            buffer.fill(blocks, self._read_block)
            if not buffer.rows:
                return
            yield self._batch(*buffer.draw(self._batch_rows, random))

    def _block_order(self, random: np.random.Generator) -> NDArray[np.int64]:
        return random.permutation(-(-self.rows // self._block_rows))

    def _row_numbers(self, block: int) -> tuple[NDArray[Any], ...]:
        low = block * self._block_rows
        return (np.arange(low, min(low + self._block_rows, self.rows)),)

    def _read_block(self, block: int) -> tuple[NDArray[Any], ...]:
        """Row numbers, vectors and keys of a block: a contiguous range where all rows are read."""
        (numbers,) = self._row_numbers(block)
        if self._positions is not None:
            return numbers, *self._arrays(self._taken(numbers))
        scanner = self._dataset.scanner(
            columns=self._columns,
            offset=int(numbers[0]),
            limit=len(numbers),
            batch_size=len(numbers),
            io_buffer_size=READ_AHEAD_BYTES,
        )
        with reading(self._uri, self.name):
            table = scanner.to_table()
        return numbers, *self._arrays(table)

    def _read_rows(self, numbers: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """The same of any rows, ascending."""
        return numbers, *self._arrays(self._taken(numbers))

    def _taken(self, numbers: NDArray[np.int64]) -> pa.Table:
        """Rows by their numbers, ascending."""
        places = numbers if self._positions is None else self._positions[numbers]
        with reading(self._uri, self.name):
            table: pa.Table = self._dataset.take(places.tolist(), columns=self._columns)
        return table

    def _arrays(self, table: pa.Table) -> tuple[NDArray[Any], ...]:
        """Vectors, keys, and what positives are looked up by where that is another column."""
        *keys, vectors = table.columns
        vectors_BD = vector_array(pa.chunked_array(vectors).combine_chunks())
        if np.any((vectors_BD.view(np.uint16) & _NON_FINITE) == _NON_FINITE):
            raise StoreError(
                f"{self._uri}: table {self.name!r} holds a vector that is not finite (NaN or "
                "infinity): write those vectors again with a sound encoder"
            )
        return vectors_BD, *(column.to_numpy() for column in keys)

    def _batch(
        self, rows_B: NDArray[np.int64], vectors_BD: NDArray[np.float16], *keys: NDArray[Any]
    ) -> VectorBatch:
        try:
            return VectorBatch(vectors_BD, *self._positives(keys[-1]), keys[0], rows_B)
        except KeyError as error:
            raise StoreError(f"{self._uri}: table {self.name!r}: {error.args[0]}") from None


class _ShuffleBuffer:
    """Rows of several columns, drawn at random; draws depend on row counts alone."""

    def __init__(self, capacity: int, block_rows: int) -> None:
        self._capacity = capacity
        self._block_rows = block_rows
        self._columns: tuple[NDArray[Any], ...] = ()
        self.rows = 0

    def fill(self, blocks: Iterator[int], read: Callable[[int], tuple[NDArray[Any], ...]]) -> None:
        """Add whole blocks while there is room for one."""
        while self.rows + self._block_rows <= self._capacity:
            block = next(blocks, None)
            if block is None:
                return
            self._append(read(block))

    def _append(self, values: tuple[NDArray[Any], ...]) -> None:
        self._columns = self._columns or _empty(self._capacity, values)
        count = len(values[0])
        for column, value in zip(self._columns, values, strict=True):
            column[self.rows : self.rows + count] = value
        self.rows += count

    def read_again(self, read: Callable[[NDArray[np.int64]], tuple[NDArray[Any], ...]]) -> None:
        """Hold all columns of the row numbers that are held, at the same positions.

        ``read`` is asked for a block of ascending row numbers at a time, whose values go straight
        to their positions: gathered and put in order first, they would lie here three times.
        """
        numbers = self._columns[0][: self.rows]
        order = np.argsort(numbers)
        columns: tuple[NDArray[Any], ...] = ()
        for low in range(0, self.rows, self._block_rows):
            places = order[low : low + self._block_rows]
            values = read(numbers[places])
            columns = columns or _empty(self._capacity, values)
            for column, value in zip(columns, values, strict=True):
                column[places] = value
        self._columns = columns

    def draw(self, count: int, random: np.random.Generator) -> tuple[NDArray[Any], ...]:
        """Remove and return ``count`` random rows, or all that are left."""
        drawn = random.choice(self.rows, min(count, self.rows), replace=False, shuffle=True)
        taken = tuple(column[drawn] for column in self._columns)
        self.rows -= len(drawn)
        # Rows from the end move into the gaps, so that the buffer stays dense.
        moved = np.setdiff1d(np.arange(self.rows, self.rows + len(drawn)), drawn)
        gaps = drawn[drawn < self.rows]
        for column in self._columns:
            column[gaps] = column[moved]
        return taken


def _empty(rows: int, like: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Columns of ``rows`` rows, each otherwise as one of ``like``."""
    return tuple(np.empty((rows, *column.shape[1:]), column.dtype) for column in like)


_END = object()


def _prefetched(batches: Iterator[VectorBatch], *, depth: int) -> Iterator[VectorBatch]:
    """Run ``batches`` on one other thread, ``depth`` ahead; its errors are raised here."""
    ready: queue.Queue[Any] = queue.Queue(depth)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                return ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in batches:
                put(batch)
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:  # raised again on the reading thread
            put(error)

    thread = threading.Thread(target=work, name="taistore-stream", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
