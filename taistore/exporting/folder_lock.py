"""One export at a time writes into a folder: a lock on it, which leaves nothing behind."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked_folder(path: Path) -> Iterator[int]:
    """A folder's descriptor, locked where the file system can do that; waits for other exports.

    The system drops the lock when the process ends, however it ends. Raises OSError.
    """
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)
