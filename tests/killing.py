"""Killing a process at an arbitrary instant of its work, found by what it does, not by a clock."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a process ended that was sent signals: ``after`` steps it took from then on."""

    code: int
    stderr: str
    after: int

    @property
    def line(self) -> str:
        """The last line of stderr, which is the only one that the command itself writes."""
        lines = self.stderr.strip().splitlines()
        assert sum(line.startswith("taistore: ") for line in lines) == 1, self.stderr
        return lines[-1]


def run_and_signal(
    module: str, *arguments: str, cwd: Path, steps: int, send: tuple[signal.Signals, ...]
) -> Ended:
    """Send signals to ``python -m module`` while it waits in step ``steps``, then let it go on.

    Each is sent once the one before has been noticed, which the process can do while it waits.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=cwd,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"." * (steps - 1))
        process.stdin.flush()
        taken = process.stdout.read(steps)
        for number in send[:-1]:
            process.send_signal(number)
            # The module's handler tells of a signal as a step tells of itself.
            process.stdout.read(1)
        process.send_signal(send[-1])
        rest, errors = process.communicate()
        assert len(taken) == steps, errors.decode()
        return Ended(code=process.returncode, stderr=errors.decode(), after=rest.count(b"."))
