"""Killing a process at an arbitrary instant of its work, found by what it does, not by a clock."""

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def step() -> None:
    """Called by the process before each piece of its work: tell of it and wait to be allowed."""
    os.write(1, b".")
    os.read(0, 1)


def run_and_kill(module: str, *arguments: str, cwd: Path, steps: int, ahead: int) -> bool:
    """Kill ``python -m module`` after so many steps; whether it was still at work.

    It goes on meanwhile, by up to ``ahead`` steps, so that SIGKILL meets it anywhere in them.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        cwd=cwd,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"." * (steps + ahead))
        process.stdin.flush()
        taken = process.stdout.read(steps)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL and len(taken) == steps
