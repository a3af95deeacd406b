"""Kill jobs at calls that change their files, as ``tests/faults/test_crash.py`` does, and count.

    python -m benchmarks.crash --seconds 3600 --kills 120 --processes 2

Jobs take turns, each at moments in random order, so that a run that is short of time has moments
spread over all of every job.
"""

import argparse
import dataclasses
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.report import Table, hardware, versions, write_report
from tests.faults.crash_jobs import JOBS
from tests.faults.crash_sweep import Findings, Sweep, warm_process


def sweep(jobs: Sequence[str], *, kills: int, until: float) -> list[Findings]:
    """What was found of each job until then, or after so many kills of each."""
    with tempfile.TemporaryDirectory() as folder, warm_process(Path(folder)) as warm:
        sweeps = [Sweep(warm, job) for job in jobs]
        left = []
        for each in sweeps:
            moments = list(each.moments(kills))
            random.Random(0).shuffle(moments)
            left.append((each, moments))
        while any(moments for _, moments in left) and time.monotonic() < until:
            for each, moments in left:
                if moments and time.monotonic() < until:
                    each.kill(*moments.pop())
        return [each.found for each in sweeps]


def table(found: Sequence[Findings]) -> Table:
    """A row a job, and one of all together."""
    counted = ("kills", "missed", "blocked", "different", "left")
    rows: list[Sequence[object]] = []
    for one in found:
        numbers = [one.kills, one.missed, len(one.blocked), len(one.different), len(one.left)]
        rows.append([one.job, one.calls, 2 * one.calls, *numbers])
    total = [sum(int(str(row[n])) for row in rows) for n in range(1, 3 + len(counted))]
    columns = ("job", "calls that change files", "moments", "killed at", "not reached",
               "blocked reruns", "differences", "leftovers")  # fmt: skip
    return Table(columns, [*rows, ["all", *total]])


def main() -> None:
    """Run it and write a report and a JSON file beside it into ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--kills", type=int, default=120, help="moments a job at most")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    until = time.monotonic() + given.seconds
    shares = [list(JOBS)[n :: given.processes] for n in range(given.processes)]
    with ThreadPoolExecutor(given.processes) as pool:
        parts = pool.map(lambda share: sweep(share, kills=given.kills, until=until), shares)
        found = sorted(
            (one for part in parts for one in part), key=lambda f: list(JOBS).index(f.job)
        )
    kinds = sum((Counter(one.kinds) for one in found), Counter[str]())
    values: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "hardware": hardware()._asdict(),
        "versions": versions(),
        "kinds": kinds,
        "jobs": [dataclasses.asdict(one) for one in found],
    }
    report = write_report(
        "faults_crash",
        title="Jobs killed at the calls that change their files",
        tables=[table(found)],
        text=_text(kinds),
    )
    report.with_suffix(".json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    print(report.name)
    for one in found:
        for line in (*one.blocked, *one.different, *one.left):
            print(f"{one.job}: {line}")


def _text(kinds: Counter[str]) -> str:
    return f"""
SIGKILL before and after calls of libc that change a file, a name or a folder in the folder of the
job (a preloaded library counts them), then the same job again, and a comparison with a job that
nobody killed: all rows of all tables (ids, vectors, labels, texts), keys that come twice, the
contents of all files (weights, training state, known labels, tags, page), and after
`optimize --keep-days 0` files that an undisturbed job does not leave, data files of tables
included. A moment is a call with *before* or *after*; those that were killed at are spread over all
by chance. A moment is not reached where a job with threads made fewer calls than when they were
counted. Calls killed at: {", ".join(f"{kind} {n}" for kind, n in kinds.most_common())}."""


if __name__ == "__main__":
    main()
