"""Which strings were met before, in about 8 bytes each."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_RECENT = 65_536


class Seen:
    """A set of strings that keeps 64-bit hashes: a million take 8 MB, not 120.

    Two different strings are taken for one with a probability of n^2 / 2^65, 3e-8 at a million.
    Python's hash is keyed anew in every process, so nobody can prepare such strings.
    """

    def __init__(self) -> None:
        self._sorted: NDArray[np.int64] = np.empty(0, np.int64)
        self._recent: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def add(self, strings: Iterable[str]) -> None:
        """Remember these."""
        self.new(list(strings))

    def new(self, strings: Sequence[str]) -> list[bool]:
        """Which of ``strings`` were not met before, also not earlier in the list; remembers all."""
        hashes, old = self._looked_up(strings)
        fresh = []
        for value, known in zip(hashes.tolist(), old.tolist(), strict=True):
            fresh.append(not known and value not in self._recent)
            if fresh[-1]:
                self._recent.add(value)
        if len(self._recent) > _RECENT:
            recent = np.fromiter(self._recent, np.int64, len(self._recent))
            self._sorted = np.sort(np.concatenate([self._sorted, recent]))
            self._recent.clear()
        return fresh

    def met(self, strings: Sequence[str]) -> list[bool]:
        """Which of ``strings`` were met before; remembers none."""
        hashes, old = self._looked_up(strings)
        pairs = zip(hashes.tolist(), old.tolist(), strict=True)
        return [known or value in self._recent for value, known in pairs]

    def _looked_up(self, strings: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The hashes, and which of them are among the sorted ones."""
        hashes = np.fromiter((hash(s) for s in strings), np.int64, len(strings))
        places = np.searchsorted(self._sorted, hashes)
        old = np.zeros(len(hashes), dtype=bool)
        inside = places < len(self._sorted)
        old[inside] = self._sorted[places[inside]] == hashes[inside]
        return hashes, old
