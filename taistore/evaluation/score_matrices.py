"""Score matrices of all steps and the truth, in memory while small and on disk beyond.

Shapes: I images, N labels, B images of a batch. Matrices lie label by label ([N, I]): average
precision sorts the images of one label at a time.
"""

import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.labels import UNKNOWN

MEMORY_BYTES = 256 * 2**20
"""Matrices that together exceed this are kept in a temporary folder."""


class ScoreBoard:
    """Collects score batches of named steps with their truth; a context manager.

    ``images`` is the most that will be added. Needs (4 steps + 1) I N bytes; beyond
    :data:`MEMORY_BYTES` they lie in the system's temporary folder (``TMPDIR``), and
    :class:`ScoringError` is raised when they do not fit there.
    """

    def __init__(self, steps: Sequence[str], *, images: int, labels: int) -> None:
        self._images = images
        self._labels = labels
        self._filled = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        cells = images * labels
        needed = cells * (4 * len(steps) + 1)
        if needed > MEMORY_BYTES:
            self._folder = _roomy_folder(needed)
        self._truth_NI: NDArray[np.int8] = self._matrix("truth", np.int8)
        self._scores_NI: dict[str, NDArray[np.float32]] = {
            step: self._matrix(step, np.float32) for step in steps
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._scores_NI.clear()
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def images(self) -> int:
        """I, the images added so far."""
        return self._filled

    @property
    def truth(self) -> NDArray[np.int8]:
        """int8 [I, N]: 1 present, 0 absent, -1 unknown."""
        return self._truth_NI[:, : self._filled].T

    def scores(self, step: str) -> NDArray[np.float32]:
        """float32 [I, N] of a step."""
        return self._scores_NI[step][:, : self._filled].T

    def add(self, truth_BN: NDArray[np.int8], scores: Mapping[str, NDArray[np.float32]]) -> None:
        """Append a batch: its truth [B, N] and one finite score matrix [B, N] per step."""
        end = self._filled + len(truth_BN)
        self._truth_NI[:, self._filled : end] = truth_BN.T
        for step, scores_BN in scores.items():
            self._scores_NI[step][:, self._filled : end] = scores_BN.T
        self._filled = end

    def forget(self, label_ids: NDArray[np.int64]) -> None:
        """Make these labels unknown of every image, so that no figure includes them."""
        self._truth_NI[label_ids, : self._filled] = UNKNOWN

    def _matrix(self, name: str, dtype: Any) -> NDArray[Any]:
        shape = (self._labels, self._images)
        if self._folder is None or not math.prod(shape):
            return np.zeros(shape, dtype=dtype)
        return np.memmap(Path(self._folder.name) / name, dtype, "w+", shape=shape)


def _roomy_folder(needed: int) -> "tempfile.TemporaryDirectory[str]":
    folder = tempfile.TemporaryDirectory(prefix="taistore-evaluate-")
    free = shutil.disk_usage(folder.name).free
    if free < needed:
        place = str(Path(folder.name).parent)
        folder.cleanup()
        raise ScoringError(
            f"{place}: the score matrices need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are "
            "free: set TMPDIR to a folder on a larger disk"
        )
    return folder
