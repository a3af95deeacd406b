"""Block-shuffled reads of a vector table: seeded, in bounded memory, resumable at any batch.

B batch, D embedding dimension, P positives of a batch, one after another.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.store.arrow import vector_array
from taistore.store.lance_errors import reading
from taistore.store.reads.prefetch import prefetched
from taistore.store.reads.shuffle_buffer import ShuffleBuffer, empty
from taistore.store.store import Store

BLOCK_ROWS = 2048
"""Fewer cost more a row; more than 8 MiB of vectors come as new pages (docs/log.md)."""
BUFFER_ROWS = 65_536
PREFETCHED_CHUNKS = 2
"""Batches are handed over by the block, some at a time: waiting for each cost more than it."""
READ_AHEAD_BYTES = 8 * 2**20
"""A block is a few megabytes; more read-ahead than that is never used."""

Positives = tuple[NDArray[np.int64], NDArray[np.int32]]
_INFINITE = 0x7C00
"""Infinity as the bits of float16; NaN is above."""
_NEGATIVE = 0x8000


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
    as many are drawn at random as the next block brings: memory does not grow with the table.
    ``positives`` maps the values of ``key_column`` to labels; by default combination ids through
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
        # Whole batches that are drawn, gathered and looked up at once: as many as a block holds.
        self._chunk_rows = batch_rows * max(1, block_rows // batch_rows)
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
            for chunk in self._exact(epoch, start):
                yield from _cut(chunk, self._batch_rows)
            return
        first, skipped = divmod(start, self._chunk_rows // self._batch_rows)
        for chunk in prefetched(self._blockwise(epoch, first), depth=PREFETCHED_CHUNKS):
            yield from _cut(chunk, self._batch_rows, skipped=skipped)
            skipped = 0

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
        """Chunks of the epoch from batch ``start`` on."""
        if self._whole is None:
            self._whole = self._read_whole()
        if not self._whole:
            return
        order = self._random(epoch).permutation(self.rows)
        for low in range(start * self._batch_rows, self.rows, self._chunk_rows):
            rows = order[low : low + self._chunk_rows]
            yield self._chunk(rows, *(column[rows] for column in self._whole))

    def _read_whole(self) -> tuple[NDArray[Any], ...]:
        """Vectors and keys of all rows, filled block by block so that no vector lies here twice."""
        whole: tuple[NDArray[Any], ...] = ()
        for block in range(-(-self.rows // self._block_rows)):
            numbers, *columns = self._read_block(block)
            whole = whole or empty(self.rows, columns)
            for column, values in zip(whole, columns, strict=True):
                column[numbers[0] : numbers[0] + len(numbers)] = values
        return whole

    # --- a table that does not ---------------------------------------------------------------

    def _blockwise(self, epoch: int, first: int) -> Iterator[VectorBatch]:
        """Chunks ``first``, ``first + 1``, … of the epoch."""
        if first * self._chunk_rows >= self.rows:
            return
        random = self._random(epoch)
        blocks = iter(self._block_order(random).tolist())
        # The order of an epoch is a matter of row numbers alone, so that chunks before `first`
        # are drawn without reading a vector; what the buffer then holds is fetched once.
        buffer = ShuffleBuffer(self._buffer_rows, self._block_rows)
        for _ in range(first):
            buffer.fill(blocks, self._row_numbers)
            buffer.draw(self._chunk_rows, random)
        if first:
            buffer.fill(blocks, self._row_numbers)
            buffer.read_again(self._read_rows)
        while True:
            buffer.fill(blocks, self._read_block)
            if not buffer.rows:
                return
            yield self._chunk(*buffer.draw(self._chunk_rows, random))

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
        # One chunk is joined with nothing, which would copy it.
        vectors_BD = vector_array(
            vectors.chunk(0) if vectors.num_chunks == 1 else vectors.combine_chunks()
        )
        if not finite(vectors_BD):
            raise StoreError(
                f"{self._uri}: table {self.name!r} holds a vector that is not finite (NaN or "
                "infinity): write those vectors again with a sound encoder"
            )
        return vectors_BD, *(column.to_numpy() for column in keys)

    def _chunk(
        self, rows_B: NDArray[np.int64], vectors_BD: NDArray[np.float16], *keys: NDArray[Any]
    ) -> VectorBatch:
        try:
            return VectorBatch(vectors_BD, *self._positives(keys[-1]), keys[0], rows_B)
        except KeyError as error:
            raise StoreError(f"{self._uri}: table {self.name!r}: {error.args[0]}") from None


def _cut(chunk: VectorBatch, rows: int, *, skipped: int = 0) -> Iterator[VectorBatch]:
    """The batches of a chunk without the first ones, as views; the last one may be smaller."""
    ends = np.concatenate([[0], np.cumsum(chunk.counts)])
    for low in range(skipped * rows, len(chunk.rows), rows):
        high = min(low + rows, len(chunk.rows))
        yield VectorBatch(
            chunk.vectors[low:high],
            chunk.counts[low:high],
            chunk.label_ids[ends[low] : ends[high]],
            chunk.keys[low:high],
            chunk.rows[low:high],
        )


def finite(vectors_BD: NDArray[np.float16]) -> bool:
    """Whether no value is NaN or infinite: their bits are the largest of either sign.

    Two passes without an array between them, in a third of the time of a look at the exponents.
    """
    most = vectors_BD.view(np.int16).max(initial=0), vectors_BD.view(np.uint16).max(initial=0)
    return bool(most[0] < _INFINITE and most[1] < _INFINITE | _NEGATIVE)
