"""A buffer of rows from which rows are drawn at random while others come in."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ShuffleBuffer:
    """Rows of several columns, drawn at random; draws depend on row counts alone.

    It holds ``target`` rows, and at most a block more, while there are blocks. A block goes to the
    places of the rows that were drawn before it, so that hardly a row is ever moved.
    """

    def __init__(self, target: int, block_rows: int) -> None:
        self._target = target
        self._capacity = target + block_rows
        self._columns: tuple[NDArray[Any], ...] = ()
        self._gaps = np.empty(0, np.int64)
        self._end = 0
        self._blocks_over = False
        self._last: NDArray[np.int64] | None = None

    @property
    def rows(self) -> int:
        """Rows that are held."""
        return self._end - len(self._gaps) if self._last is None else len(self._last)

    def fill(self, blocks: Iterator[int], read: Callable[[int], tuple[NDArray[Any], ...]]) -> None:
        """Add whole blocks until the target is met, and leave no gap."""
        while self.rows < self._target and not self._blocks_over:
            block = next(blocks, None)
            if block is None:
                self._blocks_over = True
            else:
                self._add(read(block))
        self._close_gaps()

    def _add(self, values: tuple[NDArray[Any], ...]) -> None:
        self._columns = self._columns or empty(self._capacity, values)
        count = len(values[0])
        gaps, self._gaps = self._gaps[:count], self._gaps[count:]
        end = self._end + count - len(gaps)
        for column, value in zip(self._columns, values, strict=True):
            column[gaps] = value[: len(gaps)]
            column[self._end : end] = value[len(gaps) :]
        self._end = end

    def _close_gaps(self) -> None:
        """Move rows from the end into what gaps are left, so that the buffer is dense."""
        if not len(self._gaps):
            return
        rows = self.rows
        moved = np.setdiff1d(np.arange(rows, self._end), self._gaps)
        gaps = self._gaps[self._gaps < rows]
        for column in self._columns:
            column[gaps] = column[moved]
        self._end, self._gaps = rows, np.empty(0, np.int64)

    def read_again(self, read: Callable[[NDArray[np.int64]], tuple[NDArray[Any], ...]]) -> None:
        """Hold all columns of the row numbers that are held, at the same positions.

        ``read`` is asked for some ascending row numbers at a time, whose values go straight to
        their positions: gathered and put in order first, they would lie here three times.
        """
        numbers = self._columns[0][: self._end]  # some are drawn already where no block is left
        order = np.argsort(numbers)
        columns: tuple[NDArray[Any], ...] = ()
        step = self._capacity - self._target
        for low in range(0, self._end, step):
            places = order[low : low + step]
            values = read(numbers[places])
            columns = columns or empty(self._capacity, values)
            for column, value in zip(columns, values, strict=True):
                column[places] = value
        self._columns = columns

    def draw(self, count: int, random: np.random.Generator) -> tuple[NDArray[Any], ...]:
        """Remove and return ``count`` random rows, or all that are left; then comes a fill."""
        if self._blocks_over:
            # Nothing comes any more: an order of what is left is all, and no row has to move.
            self._last = random.permutation(self._end) if self._last is None else self._last
            drawn, self._last = self._last[:count], self._last[count:]
        else:
            drawn = random.choice(self._end, count, replace=False, shuffle=True)
            self._gaps = drawn
        return tuple(column[drawn] for column in self._columns)


def empty(rows: int, like: Sequence[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Columns of ``rows`` rows, each otherwise as one of ``like``."""
    return tuple(np.empty((rows, *column.shape[1:]), column.dtype) for column in like)
