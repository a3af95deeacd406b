"""The most memory that a process held."""

import contextlib
import re
import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """Most memory that this process held resident.

    Not ``ru_maxrss`` where Linux tells more: that one counts what the process held that started it.
    """
    status = Path("/proc/self/status")
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text("ascii"))):
        return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Let the peak begin anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
