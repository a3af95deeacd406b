"""The performance suite: is taistore fast and small, beside what one would take instead?

``make bench`` (``python -m benchmarks.suite``) runs the short form, ``make bench-full`` everything.
Each part measures its two sides in turn, in one process with one thread of torch; figures are
processor time unless the question says otherwise. The table is printed and kept in
``benchmarks/results/bench*.json`` beside a page with hardware, versions and date. ``--only``
measures some parts again and keeps the other rows of the same day.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.report import RESULTS, Table, hardware, write_report
from benchmarks.suite.rows import COLUMNS, Row, merged, read_rows, write_rows

PARTS = (
    "training",
    "streaming",
    "scoring",
    "encoding",
    "centroids",
    "neighbours",
    "start_up",
    "whole_job",
    "growth",
)
"""Modules of this package, each with ``answer(work, full=…)``, which yields rows."""


def main() -> None:
    """Measure, print and write; ends with 1 where a part could not be measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="all sizes: hours")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--work", type=Path, help="folder to keep stores in (default: none kept)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    what = "bench-full" if options.full else "bench"
    options.out.mkdir(parents=True, exist_ok=True)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    path = options.out / f"{what}_{hardware().slug}_{today}.json"
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            began = time.monotonic()
            new = _measured(name, options.work or Path(folder), full=options.full)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            if new is None:
                failed.append(name)
                continue
            # After every part, so that what is measured stays, however the rest ends.
            write_rows(path, merged(read_rows(path), new, order=PARTS))
    rows = read_rows(path)
    _print(rows)
    title = "Performance suite" + (", everything" if options.full else ", short form")
    table = Table(COLUMNS, [row.cells() for row in rows])
    text = (
        "Processor seconds unless the question says otherwise; both sides in turn, in one "
        "process, on one thread."
    )
    print(path)
    print(write_report(what, title=title, tables=[table], text=text, folder=options.out))
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


def _measured(name: str, work: Path, *, full: bool) -> list[Row] | None:
    """The rows of a part; None where it failed, which it has said itself."""
    work.mkdir(parents=True, exist_ok=True)
    out = work / f"{name}.rows.json"
    out.unlink(missing_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.suite.one_part", name]
    command += ["--work", str(work / name), "--out", str(out), *(["--full"] if full else [])]
    ran = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    return read_rows(out) if ran.returncode == 0 else None


def _print(rows: list[Row]) -> None:
    width = max((len(row.question) for row in rows), default=0)
    heads = ("ours", "other", "ratio", "target", "holds")
    print(f"{'question':{width}}  " + "  ".join(f"{head:>9}" for head in heads))
    for row in rows:
        _, *cells = (
            f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row.cells()
        )
        print(f"{row.question:{width}}  " + "  ".join(f"{cell:>9}" for cell in cells))


if __name__ == "__main__":
    main()
