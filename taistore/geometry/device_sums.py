"""Sums of vectors by group on the device that trains, such as a GPU.

B rows of a batch, D embedding dimension, G groups, P memberships of a batch.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taistore.geometry.group_sums import NonFiniteRowError

BLOCK_ROWS = 1024


class DeviceSums:
    """What :class:`taistore.geometry.group_sums.GroupSums` counts, on ``device``.

    Sums are float64, ``8 * G * D`` bytes on the device: float16 vectors of usual lengths add up
    exactly, so that the order in which a GPU adds does not matter.
    """

    def __init__(self, groups: int, dim: int, *, device: str) -> None:
        self.counts_G = np.zeros(groups, dtype=np.int64)
        self.squares_G = np.zeros(groups, dtype=np.float64)
        self.rows = 0
        self._device = torch.device(device)
        self._sums_GD = torch.zeros((groups, dim), dtype=torch.float64, device=self._device)
        self._total_D = torch.zeros(dim, dtype=torch.float64, device=self._device)

    def add(
        self,
        vectors_BD: NDArray[np.float16],
        counts_B: NDArray[np.int64],
        groups_P: NDArray[Any],
    ) -> None:
        """Add rows: how many groups each is in, and those groups, one row after another.

        Raises :class:`NonFiniteRowError` before anything of the batch is added.
        """
        # A copy: torch warns of memory that cannot be written, which is what a store reads.
        whole_BD = torch.from_numpy(np.array(vectors_BD)).to(self._device)
        bad = torch.nonzero(~torch.isfinite(whole_BD).all(dim=1))
        if len(bad):
            raise NonFiniteRowError(int(bad[0]))
        ends_B = np.concatenate([[0], np.cumsum(counts_B)])
        groups_P = groups_P.astype(np.int64)
        for low in range(0, len(vectors_BD), BLOCK_ROWS):
            high = min(low + BLOCK_ROWS, len(vectors_BD))
            rows_BD = whole_BD[low:high].double()
            here_P = groups_P[ends_B[low] : ends_B[high]]
            member_P = np.repeat(np.arange(high - low), counts_B[low:high])
            groups = torch.from_numpy(here_P).to(self._device)
            members = torch.from_numpy(member_P).to(self._device)
            self._sums_GD.index_add_(0, groups, rows_BD[members])
            self._total_D += rows_BD.sum(dim=0)
            squares_B = rows_BD.square().sum(dim=1).cpu().numpy()
            groups_in_all = len(self.counts_G)
            self.squares_G += np.bincount(here_P, squares_B[member_P], groups_in_all)
            self.counts_G += np.bincount(here_P, minlength=groups_in_all)
        self.rows += len(vectors_BD)

    def sums(self) -> NDArray[np.float32]:
        """The sum [G, D] of each group so far."""
        found: NDArray[np.float32] = self._sums_GD.float().cpu().numpy()
        return found

    def total(self) -> NDArray[np.float64]:
        """The sum [D] of all rows so far, each once."""
        found: NDArray[np.float64] = self._total_D.cpu().numpy()
        return found
