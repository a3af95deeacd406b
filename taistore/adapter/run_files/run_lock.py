"""Who writes a run's folder: a lock that the system drops when its process ends, however it ends.

The lock lies on a file in the folder, which also names the process and its host for people. Where
two hosts share a folder but no locks, a training elsewhere is known by what it wrote of late.
"""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from taistore.adapter.run_files.file_names import STATE
from taistore.adapter.run_files.lock_state import LOCK, is_held
from taistore.adapter.run_files.run_folder import folder_of
from taistore.errors import TrainingError
from taistore.store.places import is_remote
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

PATIENCE_SECONDS = 1.0
"""So long a training waits for the lock: whoever looks whether it is held holds it for a moment."""

ELSEWHERE_SECONDS = 120.0
"""A training on another host that wrote its state so lately may be alive: it saves every 30 s."""

LiveStatus = Literal["running", "finished", "failed", "stopped", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Liveness:
    """Whether a run is being trained now.

    It is ``running`` only while its lock is held. ``unknown`` is one that was trained on another
    ``host``, whose locks may not be seen here. ``last_seen`` (UTC) is when a run that is not
    finished last saved its state, else when it began.
    """

    status: LiveStatus
    last_seen: datetime | None = None
    host: str = ""

    def __str__(self) -> str:
        if self.last_seen is None or self.status == "running":
            return self.status
        where = f" on {self.host}" if self.status == "unknown" else ""
        return f"{self.status}, last seen {self.last_seen:%F %R}{where}"


def liveness(store: Store, row: RunRow) -> Liveness:
    """What is known of a run now, whatever its row says; nothing is written."""
    if row.status == "finished":
        return Liveness(status="finished")
    folder = folder_of(store, row)
    seen = _last_seen(folder) or row.created
    host = _owner(folder).get("host", "")
    status: LiveStatus = "stopped"
    if is_held(folder):
        status = "running"
    elif row.status == "failed":
        status = "failed"
    elif row.status == "running" and (host != platform.node() if host else is_remote(store.uri)):
        status = "unknown"
    return Liveness(status=status, last_seen=seen, host=host)


@contextlib.contextmanager
def written_alone(folder: Path, run_id: str) -> Iterator[None]:
    """Keep every other process from writing the run in ``folder`` within the block.

    Raises :class:`TrainingError` naming the process that does so now.
    """
    # Whichever thread ends it, and only the system's own lock ends with a killed process.
    lock = FileLock(folder / LOCK, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=PATIENCE_SECONDS, poll_interval=0.05)
    except Timeout:
        raise _busy(_owner(folder), run_id) from None
    except OSError as error:
        raise TrainingError(
            f"{folder / LOCK}: cannot be locked ({error.strerror}): mend that, or choose a folder "
            "on another disk"
        ) from error
    try:
        _require_not_elsewhere(folder, run_id)
    except BaseException:
        # The file stays: it names the owner to whoever tries next.
        lock.release()
        raise
    try:
        owner = {"run": run_id, "process": str(os.getpid()), "host": platform.node()}
        # What it says serves people: the lock holds without it.
        with contextlib.suppress(OSError):
            (folder / LOCK).write_text(json.dumps(owner), encoding="utf-8")
        yield
    finally:
        # Before it is let go: whoever waits for it finds that the file is gone, and looks again.
        with contextlib.suppress(OSError):
            (folder / LOCK).unlink()
            folder.rmdir()  # only where nothing came into it
        lock.release()


def _busy(owner: dict[str, str], run_id: str) -> TrainingError:
    who = "another process"
    if owner:
        who = f"process {owner['process']} on host {owner['host']}"
    run = owner.get("run", run_id)
    return TrainingError(f"run {run} is being trained ({who}): wait for it or stop it")


def _require_not_elsewhere(folder: Path, run_id: str) -> None:
    owner = _owner(folder)
    seen = _last_seen(folder)
    if not owner or owner["host"] == platform.node() or seen is None:
        return
    ago = time.time() - seen.timestamp()
    if abs(ago) < ELSEWHERE_SECONDS:
        raise TrainingError(
            f"run {run_id} was trained on host {owner['host']} {max(ago, 0):.0f} s ago: stop it "
            f"there, or wait until that is {ELSEWHERE_SECONDS:.0f} s ago"
        )


def _owner(folder: Path) -> dict[str, str]:
    """Whoever wrote the lock's file last; empty where nobody did, or where it cannot be read."""
    try:
        values = json.loads((folder / LOCK).read_text(encoding="utf-8"))
        return {name: str(values[name]) for name in ("run", "process", "host")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _last_seen(folder: Path) -> datetime | None:
    try:
        return datetime.fromtimestamp((folder / STATE).stat().st_mtime, UTC)
    except OSError:
        return None
