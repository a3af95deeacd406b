"""JSON nested 10,000 deep and deeper, in every file and answer that is read."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.faults.read_deep import DEPTHS, READERS

MOST_BYTES = 16 * 2**20
"""What all of it may take on top of what reading any such file does."""


def test_deep_nesting_is_one_line_in_bounded_memory(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.faults.read_deep", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(found) == len(READERS) * len(DEPTHS) * 2
    for row in found:
        assert row["said"], row
        assert len(row["said"].splitlines()) == 1, row
        assert len(row["said"]) < 500, row
        assert row["bytes"] < MOST_BYTES, row
