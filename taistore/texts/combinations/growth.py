"""Combinations for a label set that has grown: those that were drawn before stay the same.

Labels that came together are an addition; the first is what the store was made with. Its
combinations are dealt among its labels alone, as if no other had come. Each later addition has
combinations of its own, which begin with one of its labels and take the others from all that were
there by then. A combination loses a label that is no longer in use, so that the others are named as
often as before; where most labels are not, combinations are dealt anew among those that are.

Shapes: M labels that the store ever had, N that are in use, G draws, K the largest combination.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from taistore.store.store import Store
from taistore.texts.combinations.dealing import PAD, Block, Deal, Int32, with_partners

_BLOCK = 1 << 14

First = Callable[[Mapping[int, float], int], Block]
"""Makes what deals so many labels into combinations of these sizes."""


@dataclass(frozen=True)
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

    def rows(self, first: First, sizes: Mapping[int, float], *, draws: int, seed: int) -> Int32:
        """Combinations [G, K] of columns, so many that each label is in as many as if it had been
        there among ``draws`` from the start; ``first`` deals the labels of the first addition.

        A larger number of draws gives the same for each addition, and more. ``sizes`` must have one
        that fits the labels in use.
        """
        each = draws / len(self._used)
        parts: list[Int32] = []
        for number in np.unique(self.addition[self._used]).tolist():
            own = np.flatnonzero(self.addition == number)
            there = np.arange(len(own) if number == 0 else int(own[-1]) + 1)
            if 2 * len(left := np.intersect1d(there, self._used)) < len(there):
                # Hardly any combination would have a label that is in use.
                there, own = left, np.intersect1d(left, own)
            if not (fitting := {size: w for size, w in sizes.items() if size <= len(there)}):
                continue  # they are named in later ones
            if number == 0:
                block, wanted = first(fitting, len(there)), each * len(own)
            else:
                block = _block(np.searchsorted(there, own), len(there), fitting)
                new = (len(own) - 1) / max(len(there) - 1, 1)
                wanted = each * len(own) * _share(fitting, new)
            rows_GK = Deal(block, len(there), seed).first(math.ceil(wanted))
            parts.append(self._in_use(rows_GK, there, number))
        most = max(part.shape[1] for part in parts)
        return np.concatenate(
            [np.pad(p, ((0, 0), (0, most - p.shape[1])), constant_values=PAD) for p in parts]
        )

    @cached_property
    def _used(self) -> NDArray[np.int64]:
        """The ids of labels in use."""
        return np.flatnonzero(self.column_of >= 0)

    def _in_use(self, rows_GK: Int32, there: NDArray[np.int64], number: int) -> Int32:
        """What is left of combinations of these ids, as columns; one without a label of its own
        addition goes."""
        ids_GK = np.where(rows_GK == PAD, PAD, there[rows_GK])
        columns_GK = np.where(ids_GK == PAD, PAD, self.column_of[ids_GK])
        own_GK = (columns_GK != PAD) & (self.addition[ids_GK] == number)
        columns_GK = columns_GK[own_GK.any(axis=1)]
        # Pads sort behind every label, then are -1 again.
        last = np.int32(len(self._used))
        columns_GK = np.sort(np.where(columns_GK == PAD, last, columns_GK), axis=1)
        return np.where(columns_GK == last, PAD, columns_GK).astype(np.int32)


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
