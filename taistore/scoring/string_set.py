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
        self._recent: NDArray[np.int64] = np.empty(0, np.int64)

    def __len__(self) -> int:
        return len(self._sorted) + len(self._recent)

    def add(self, strings: Iterable[str]) -> None:
        """Remember these."""
        self.new(list(strings))

    def new(self, strings: Sequence[str]) -> list[bool]:
        """Which of ``strings`` were not met before, also not earlier in the list; remembers all."""
        hashes = np.fromiter(map(hash, strings), np.int64, len(strings))
        first = np.unique(hashes, return_index=True)[1]
        known = _among(hashes[first], self._sorted) | _among(hashes[first], self._recent)
        fresh = np.zeros(len(hashes), dtype=bool)
        fresh[first[~known]] = True
        self._recent = np.sort(np.concatenate([self._recent, hashes[fresh]]), kind="stable")
        if len(self._recent) > _RECENT:
            self._sorted = np.sort(np.concatenate([self._sorted, self._recent]), kind="stable")
            self._recent = np.empty(0, np.int64)
        found: list[bool] = fresh.tolist()
        return found

    def met(self, strings: Sequence[str]) -> list[bool]:
        """Which of ``strings`` were met before; remembers none."""
        hashes = np.fromiter(map(hash, strings), np.int64, len(strings))
        found: list[bool] = (_among(hashes, self._sorted) | _among(hashes, self._recent)).tolist()
        return found


def _among(values: NDArray[np.int64], ascending: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the values are there."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    places = np.searchsorted(ascending, values)
    there: NDArray[np.bool_] = ascending[np.minimum(places, len(ascending) - 1)] == values
    return there
