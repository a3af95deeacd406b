"""Combinations for a label set that has grown: those that were drawn before stay the same.

Labels that came together are an addition; the first is what the store was made with. Its
combinations are dealt among its labels alone, as if no other had come. Each later addition has
combinations of its own, which begin with one of its labels and take the others from all that were
there by then. A combination with a label that is no longer in use is passed over; where most labels
are not, combinations are dealt anew among those that are.

Shapes: M labels that the store ever had, N that are in use, G draws, K the largest combination.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taistore.store.store import Store
from taistore.texts.combinations.dealing import PAD, Block, Deal, Int32, with_partners

_BLOCK = 1 << 14


@dataclass(frozen=True, slots=True)
class Growth:
    """With which addition each label came [M], and the column that it has now [M], -1: none."""

    addition: NDArray[np.int32]
    column_of: NDArray[np.int32]

    @classmethod
    def of(cls, store: Store) -> "Growth":
        """Of a store's labels, those in use by their columns."""
        addition = np.array([row.addition for row in store.stored_labels], dtype=np.int32)
        column_of = np.full(len(addition), -1, dtype=np.int32)
        column_of[store.view.label_ids] = np.arange(len(store.labels))
        return cls(addition, column_of)

    @property
    def is_none(self) -> bool:
        """Whether all labels came first and are in use still."""
        return not self.addition.any() and bool((self.column_of >= 0).all())

    def rows(self, first: Block, sizes: Mapping[int, float], *, draws: int, seed: int) -> Int32:
        """Combinations [G, K] of columns, so many that each label is in as many as if it had been
        there among ``draws`` from the start; ``first`` deals the labels of the first addition.

        A larger number of draws gives the same for each addition, and more.
        """
        in_use = self.column_of >= 0
        each = draws / max(int(in_use.sum()), 1)
        parts: list[Int32] = []
        for number in np.unique(self.addition[in_use]).tolist():
            own = np.flatnonzero(self.addition == number)
            there = int(own[-1]) + 1
            pool = in_use[own] if number == 0 else in_use[:there]
            if int(pool.sum()) < min(sizes):
                continue  # there is no combination of these
            wanted = each * int(in_use[own].sum())
            if number == 0:
                block = first
            else:
                block = _block(own, there, sizes)
                wanted *= _share(sizes, (len(own) - 1) / max(there - 1, 1))
            if 2 * pool.sum() < len(pool):
                # Hardly any combination would be of labels that are all in use.
                left = np.flatnonzero(in_use[:there])
                there, own = len(left), np.flatnonzero(np.isin(left, own))
                deal = Deal(_block(own, there, sizes), there, seed)
                rows_GK = deal.first(math.ceil(wanted))
                columns = self.column_of[left]
                parts.append(np.where(rows_GK == PAD, np.int32(PAD), columns[rows_GK]))
                continue
            parts.append(self._in_use(Deal(block, there, seed), math.ceil(wanted)))
        return np.concatenate(parts)

    def _in_use(self, deal: Deal, draws: int) -> Int32:
        """The first ``draws`` combinations of labels that are all in use, as columns."""
        dealt = draws
        while True:
            rows_GK = deal.first(dealt)
            columns_GK = np.where(rows_GK == PAD, PAD, self.column_of[rows_GK])
            kept = columns_GK[((columns_GK >= 0) | (rows_GK == PAD)).all(axis=1)]
            if len(kept) >= draws:
                return np.ascontiguousarray(kept[:draws])
            dealt = 2 * dealt


def _share(sizes: Mapping[int, float], new: float) -> float:
    """Draws for each label of an addition, in those that it would have had from the start.

    ``new`` is its share of the other labels by then: a draw holds one of its labels first, and
    ``new`` of the mean number of others.
    """
    mean = sum(size * weight for size, weight in sizes.items()) / sum(sizes.values())
    return mean / (1 + (mean - 1) * new)


def _block(own: NDArray[np.int64], there: int, sizes: Mapping[int, float]) -> Block:
    """Deals the labels of an addition in rounds, each with partners among all that are there."""
    rounds = max(1, _BLOCK // len(own))

    def block(random: np.random.Generator) -> Int32:
        order = random.permuted(
            np.broadcast_to(own.astype(np.int32), (rounds, len(own))), axis=1
        ).reshape(-1)

        def anyone(rows_GK: Int32) -> Int32:
            return random.integers(there, size=len(rows_GK), dtype=np.int32)

        return with_partners(order, sizes, there, anyone, random)

    return block
