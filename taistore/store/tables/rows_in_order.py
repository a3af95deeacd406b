"""Rows of a table for ids that come in about the order in which the table holds them.

Jobs commit vectors in the order of their images, so that reading both side by side finds one with
the other. A look-up by id reads much of the index for every thousand ids, so that all of a large
table would cost its square.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from taistore.contracts import TABLES
from taistore.store.store import Store

WINDOW_BYTES = 64 * 2**20
"""Rows that were read and not asked for yet, beside those of the block that is read next."""


class RowsInOrder:
    """Reads ``columns`` of a table once from front to back, while its ids are asked for in order.

    What lies in no part that was just read is looked up; where nothing does, half of that part is
    passed over; and from the table's end the reading goes on at its front. Any order is right, that
    of the table is quick.
    """

    def __init__(
        self,
        store: Store,
        kind: str,
        encoder_id: str,
        *,
        columns: Sequence[str],
        block_rows: int,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self._store, self._kind, self._encoder_id = store, kind, encoder_id
        self._key = TABLES[kind].key[0]
        self._columns = [self._key, *columns]
        self._block_rows = block_rows
        self._window_bytes = window_bytes
        self._window: deque[pa.RecordBatch] = deque()
        self._begin()

    def take(self, ids: Sequence[str]) -> tuple[NDArray[np.int64], pa.Table]:
        """Places in ``ids`` of those that the table holds, ascending, and their rows."""
        wanted = pa.array(ids, pa.string())
        left = np.arange(len(wanted), dtype=np.int64)
        found: list[tuple[NDArray[np.int64], pa.RecordBatch]] = []
        first_used = None
        for number, block in enumerate(self._ahead()):
            left, here = _match(wanted, left, block, key=self._key)
            if here is not None:
                found.append(here)
                first_used = number if first_used is None else first_used
            if not len(left):
                break
        past = len(self._window) // 2 if first_used is None else first_used
        for _ in range(past):
            self._window.popleft()
        if len(left) and (others := self._looked_up(wanted, left)):
            found += others
            if self._at_end:
                self._begin()
        if not found:
            return np.empty(0, np.int64), self._none()
        places = np.concatenate([some for some, _ in found])
        table = pa.Table.from_batches([rows for _, rows in found])
        if len(found) > 1:
            order = np.argsort(places)
            places, table = places[order], table.take(order)
        return places, table

    def _begin(self) -> None:
        self._at_end = False
        self._window.clear()
        self._blocks = self._store.scan(
            self._kind,
            columns=self._columns,
            encoder_id=self._encoder_id,
            batch_rows=self._block_rows,
        )

    def _ahead(self) -> Iterator[pa.RecordBatch]:
        """The blocks in the window, then those that are read into it while there is room."""
        yield from list(self._window)
        while sum(block.nbytes for block in self._window) < self._window_bytes:
            block = next(self._blocks, None)
            if block is None:
                self._at_end = True
                return
            self._window.append(block)
            yield block

    def _looked_up(
        self, wanted: "pa.StringArray", left: NDArray[np.int64]
    ) -> list[tuple[NDArray[np.int64], pa.RecordBatch]]:
        found = []
        for block in self._store.scan(
            self._kind,
            columns=self._columns,
            encoder_id=self._encoder_id,
            where={self._key: wanted.take(pa.array(left, pa.int64())).to_pylist()},
        ):
            left, here = _match(wanted, left, block, key=self._key)
            if here is not None:
                found.append(here)
        return found

    def _none(self) -> pa.Table:
        schema = self._store.schema(self._kind, self._encoder_id)
        return pa.schema([schema.field(name) for name in self._columns]).empty_table()


def _match(
    wanted: Any, left: NDArray[np.int64], block: pa.RecordBatch, *, key: str
) -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], pa.RecordBatch] | None]:
    """What is left of the places after a block, and the places and rows that it has."""
    asked = wanted if len(left) == len(wanted) else wanted.take(pa.array(left, pa.int64()))
    rows = pc.index_in(asked, value_set=block.column(key))
    there = np.asarray(rows.is_valid())
    if not there.any():
        return left, None
    return left[~there], (left[there], block.take(rows.drop_null()))
