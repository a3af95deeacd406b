"""A ``.npy`` matrix that is written row by row, without knowing how many rows there will be.

Shapes: I rows, B rows of a block, N columns.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

HEADER_BYTES = 128
"""The same for every number of rows, so that it can be put right when all are there."""


class NpyRows:
    """Writes float32 [I, N] to ``path``, block by block; a context manager.

    What raises OSError or ends the block otherwise leaves no file.
    """

    def __init__(self, path: Path, *, columns: int) -> None:
        self._path = path
        self._columns = columns
        self.rows = 0

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        self._file.write(self._header())
        return self

    def add(self, rows_BN: NDArray[np.float32]) -> None:
        """Append rows."""
        self._file.write(np.ascontiguousarray(rows_BN, dtype="<f4").tobytes())
        self.rows += len(rows_BN)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with self._file:
                if error is None:
                    self._file.seek(0)
                    self._file.write(self._header())
        except OSError:
            self._path.unlink(missing_ok=True)
            raise
        if error is not None:
            self._path.unlink(missing_ok=True)

    def _header(self) -> bytes:
        """Version 1.0 of the format, padded to :data:`HEADER_BYTES`."""
        shape = f"({self.rows}, {self._columns})"
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
        room = HEADER_BYTES - 10
        return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n"


def read_npy(path: Path) -> NDArray[Any]:
    """The array of a ``.npy`` file, mapped: what is read of it is read when it is used.

    Raises OSError, or ValueError where it is none; nothing is unpickled.
    """
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError("an archive of arrays: give one array")
    return found
