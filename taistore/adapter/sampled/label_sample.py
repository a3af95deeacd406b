"""Which labels a step takes as negatives, where it cannot take all. N labels, S of a step."""

import numpy as np
import torch
from numpy.typing import NDArray


class LabelSample:
    """A random S of N labels for every step, each label once in every cycle of N / S steps.

    The order of a cycle is a permutation drawn by seed and cycle: at any one step every label is
    as likely as any other, and no label waits longer than two cycles. A step's sample depends on
    seed and step alone, so that resuming needs no state.
    """

    def __init__(self, labels: int, size: int, *, seed: int) -> None:
        self.labels = labels
        self.cycle = -(-labels // size)
        self._seed = seed
        self._drawn: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def at(self, step: int) -> torch.Tensor:
        """The labels of a step, int64 [S], in increasing order.

        S differs by at most one between the steps of a cycle; a label is among them with
        probability S / N.
        """
        cycle, place = divmod(step, self.cycle)
        if self._drawn[0] != cycle:
            random = np.random.default_rng(np.random.SeedSequence([self._seed, cycle, 1]))
            self._drawn = (cycle, random.permutation(self.labels))
        first, last = (self.labels * edge // self.cycle for edge in (place, place + 1))
        return torch.from_numpy(np.sort(self._drawn[1][first:last]))
