"""Scores of the known cells of some labels, label by label, in memory.

An unknown cell enters no figure of a label and is not kept: of verified labels, of which an image
has a dozen, that is nearly all there is. Shapes: I images, N labels, B images of a batch, K known
cells.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from taistore.labels import UNKNOWN

CELL_BYTES = 512 * 2**20
"""Most that the cells of one set of columns take. Labels that need more come in blocks."""

PART_CELLS = 2**22
"""Cells given out at once."""


class LabelCells(NamedTuple):
    """The known cells of one label: image numbers [K], 1 or 0 (-1: forgotten) and scores [K]."""

    images: NDArray[Any]
    truth: NDArray[np.int8]
    scores: NDArray[Any]


def bytes_a_cell(steps: int) -> int:
    """Of a cell that is scored with so many steps: its scores, its image's number, its truth."""
    return 4 * steps + 4 + 1


def label_blocks(most_N: NDArray[np.int64], *, cells: int) -> list[slice]:
    """Blocks of neighbouring labels, each of so many known cells at most, but for single labels."""
    ends_N = np.cumsum(most_N)
    blocks, start = [], 0
    while start < len(most_N):
        before = int(ends_N[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends_N, before + cells, side="right")))
        blocks.append(slice(start, stop))
        start = stop
    return blocks


class LabelColumns:
    """Collects the known cells of the labels of ``block`` from batches of all labels.

    ``most_N`` says how many known cells each label of the block has at most.
    """

    def __init__(self, steps: Sequence[str], block: slice, most_N: NDArray[np.int64]) -> None:
        self.block = block
        self.images = 0
        self._starts_N = np.cumsum(most_N) - most_N
        self._filled_N = np.zeros(len(most_N), np.int64)
        cells = int(most_N.sum())
        self._image_K = np.empty(cells, np.int32)
        # What is not filled is as good as unknown.
        self._truth_K = np.full(cells, UNKNOWN, np.int8)
        self._scores_K = {step: np.empty(cells, np.float32) for step in steps}

    def __len__(self) -> int:
        return len(self._filled_N)

    def add(self, truth_BN: NDArray[np.int8], scores: Mapping[Any, NDArray[np.float32]]) -> None:
        """Append images: their truth [B, N] and a finite score matrix [B, N] a step."""
        truth_nB = truth_BN[:, self.block].T
        label_K, row_K = np.nonzero(truth_nB != UNKNOWN)
        counts_n = np.bincount(label_K, minlength=len(self))
        within_K = np.arange(len(label_K)) - np.repeat(np.cumsum(counts_n) - counts_n, counts_n)
        at_K = (self._starts_N + self._filled_N)[label_K] + within_K
        self._image_K[at_K] = self.images + row_K
        self._truth_K[at_K] = truth_nB[label_K, row_K]
        for step, kept_K in self._scores_K.items():
            kept_K[at_K] = scores[step][:, self.block].T[label_K, row_K]
        self._filled_N += counts_n
        self.images += len(truth_BN)

    def forget(self, label_ids: NDArray[np.int64]) -> None:
        """Make these of all labels unknown of every image, so that no figure includes them."""
        for label_id in label_ids.tolist():
            if self.block.start <= label_id < self.block.stop:
                self._truth_K[self._cells(label_id - self.block.start)] = UNKNOWN

    def label(self, step: str, n: int) -> LabelCells:
        """The known cells of the n-th label of the block, images ascending."""
        cells = self._cells(n)
        return LabelCells(self._image_K[cells], self._truth_K[cells], self._scores_K[step][cells])

    def all_labels(self, step: str) -> list[LabelCells]:
        """The known cells of each label of the block."""
        return [self.label(step, n) for n in range(len(self))]

    def parts(self, step: str) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int8]]]:
        """All cells of a step, some at a time: scores and truth, -1 where there is none."""
        for start in range(0, len(self._truth_K), PART_CELLS):
            part = slice(start, start + PART_CELLS)
            yield self._scores_K[step][part], self._truth_K[part]

    def _cells(self, n: int) -> slice:
        start = int(self._starts_N[n])
        return slice(start, start + int(self._filled_N[n]))
