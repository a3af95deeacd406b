"""Kill a job before and after the calls that change its files, run it again, and compare."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.crash_state import State, differences, left_over
from tests.killing import ROOT

LIGHT = ("lancedb", "lance", "taistore.texts.ingest.ingest_texts", "taistore.store.maintenance")
"""What a child needs of ``init`` and of texts; a child that lacks something loads it itself."""

HEAVY = (
    *LIGHT,
    "matplotlib.pyplot",
    "polars",
    "torch",
    "taistore.adapter.train",
    "taistore.evaluation.drawing",
    "taistore.geometry.diagnosis",
    "taistore.images.ingest",
    "taistore.images.ingest_image_vectors",
    "taistore.scoring.ensembles.make_ensemble",
    "taistore.scoring.page.write_page",
    "taistore.scoring.score",
    "taistore.texts.generate",
    "taistore.texts.writers",
)
"""What all jobs need."""

SOURCE = Path(__file__).with_name("kill_at_call.c")


@dataclass(slots=True)
class Findings:
    """One job: how many calls change files, which kills were tried, and what they did.

    ``blocked``: a rerun failed. ``different``: rows, keys or files are not those of an undisturbed
    run. ``left``: files that stay. Each is told with its moment. ``missed`` moments never came: a
    job with threads does not always make as many calls.
    """

    job: str
    calls: int
    kills: int = 0
    missed: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    blocked: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def compiler() -> str | None:
    """A C compiler, where there is one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class WarmProcess:
    """Talks to :mod:`tests.faults.warm_process`, which forks for each order."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process = process
        self._folder = folder
        self._answer()

    def ask(self, job: str, do: str, *, call: int = 0, after: bool = False) -> dict[str, Any]:
        """Its answer, with the ``status`` of the child, the ``calls`` and what was ``killed``."""
        order = {"job": job, "do": do, "call": call, "after": int(after)}
        places = {"here": str(self.here(job)), "given": str(self.folder(job) / "given")}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order | places) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def folder(self, job: str) -> Path:
        """Where everything of a job lies."""
        return self._folder / job.replace(", ", "-").replace(" ", "-")

    def here(self, job: str) -> Path:
        """Where a job works and is killed."""
        return self.folder(job) / "here"

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the warm process has ended: run it by hand to see why")
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def warm_process(folder: Path, modules: Sequence[str] = HEAVY) -> Iterator[WarmProcess]:
    """One with the shim and ``modules`` loaded, working under ``folder``; it ends with the context.

    ``folder`` exists.
    """
    folder = folder.resolve()
    shim = folder / "kill_at_call.so"
    flags = ["-O1", "-shared", "-fPIC", "-Wall", "-Wno-nonnull-compare"]
    subprocess.run([str(compiler()), *flags, "-o", shim, SOURCE, "-ldl"], check=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]),
        "LD_PRELOAD": str(shim),
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.warm_process", *modules],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=folder,
    ) as process:
        yield WarmProcess(process, folder)
        assert process.stdin is not None
        process.stdin.close()


class Sweep:
    """One job: what it starts from, how many calls it makes, what it ends with undisturbed."""

    def __init__(self, warm: WarmProcess, job: str) -> None:
        self._warm, self.job = warm, job
        self._here = warm.here(job)
        self._base = warm.folder(job) / "base"
        _require(warm.ask(job, "prepare"), job)
        self._here.rename(self._base)
        self._begin()
        calls = int(_require(warm.ask(job, "run"), job)["calls"])
        self.found = Findings(job, calls)
        self._calm: State = _require(warm.ask(job, "state"), job)["state"]

    def _begin(self) -> None:
        shutil.rmtree(self._here, ignore_errors=True)
        shutil.copytree(self._base, self._here, symlinks=True)

    def moments(self, most: int) -> Sequence[tuple[int, bool]]:
        """All moments, before and after each call, or ``most`` of them spread over all."""
        every = [
            (call, after) for call in range(1, self.found.calls + 1) for after in (False, True)
        ]
        if len(every) <= most:
            return every
        return [every[n * (len(every) - 1) // (most - 1)] for n in range(most)]

    def kill(self, call: int, after: bool) -> None:
        """Kill there, run again, and note what is not as it should be."""
        found = self.found
        self._begin()
        died = self._warm.ask(self.job, "run", call=call, after=after)
        moment = f"{'after' if after else 'before'} call {call} ({died['killed']})"
        if died["status"] != signal.SIGKILL or not died["killed"]:
            found.missed += 1
            if "error" in died:
                found.blocked.append(f"{moment}: the job itself failed: {died['error']}")
            return
        found.kills += 1
        found.kinds[died["killed"]] = found.kinds.get(died["killed"], 0) + 1
        again = self._warm.ask(self.job, "again")
        if "state" not in again:
            found.blocked.append(f"{moment}: {again.get('error', again)}")
            return
        found.different += [f"{moment}: {d}" for d in differences(self._calm, again["state"])]
        found.left += [f"{moment}: {path}" for path in left_over(self._calm, again["state"])]


def _require(answer: dict[str, Any], job: str) -> dict[str, Any]:
    if "error" in answer or answer["status"]:
        raise RuntimeError(f"{job}, undisturbed: {answer}")
    return answer
