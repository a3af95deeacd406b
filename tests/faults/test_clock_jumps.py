"""A clock that jumps years ahead and back while jobs run: nothing is lost, latest is the newest."""

import json
import subprocess
import sys
from pathlib import Path

from tests.faults.colour_store import everything
from tests.faults.jump_clock import work
from tests.faults.preloaded import CLOCK, preloaded


def test_a_jumping_clock_loses_nothing(tmp_path: Path) -> None:
    environment = preloaded(CLOCK, tmp_path)
    jumped, calm = tmp_path / "jumped", tmp_path / "calm"
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.jump_clock", str(jumped)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    # In the order in which they were trained, though the clock said otherwise.
    assert found["seeds"] == [0, 0, 1, 2, 3, 4]
    assert found["latest"] == 4
    work(calm, ahead=0)
    expected = everything(calm / "store")
    # Both hold the same rows but for where their photos lie.
    assert json.loads(json.dumps(found["store"]).replace(str(jumped), str(calm))) == expected
