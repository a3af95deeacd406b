"""Of several processes on one set of a work folder, one is at work: the others wait for it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from taistore.errors import ScoringError
from taistore.progress import Note

_PATIENCE_SECONDS = 1.0
_POLL_SECONDS = 0.2


@contextlib.contextmanager
def set_turn(folder: Path, *, note: Note) -> Iterator[None]:
    """Be the only process within the block that fills and reads the store at ``folder``.

    Whoever comes later is told through ``note`` and waits: it finds what the first one made, where
    it would write the same texts and train the same runs again. The lock is a file beside the
    store, which the system frees when its process ends, however it ends. Raises
    :class:`ScoringError` where that file cannot be locked.
    """
    path = folder.with_name(f"{folder.name}.lock")
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=_PATIENCE_SECONDS, poll_interval=_POLL_SECONDS)
        except Timeout:
            note(f"another process is at work on {folder}: waiting for it")
            lock.acquire(poll_interval=_POLL_SECONDS)
    except OSError as error:
        raise ScoringError(
            f"{path}: cannot be locked ({error.strerror}): choose a work folder on another disk"
        ) from error
    try:
        yield
    finally:
        lock.release()
