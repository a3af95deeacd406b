"""Whether a process on this machine writes a run's folder."""

import os
import sys
from pathlib import Path

from filelock import FileLock, Timeout

LOCK = "training.lock"
"""Name of the file in the folder that :mod:`taistore.adapter.run_files.run_lock` locks."""


def is_held(folder: Path) -> bool:
    """Whether a process on this machine writes the run in ``folder``; nothing is written."""
    if sys.platform == "win32":
        if not (folder / LOCK).is_file():
            return False
        lock = FileLock(folder / LOCK, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        lock.release()
        return False
    import fcntl

    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        # Shared, so that two who look do not see each other, and a store may be read-only.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
