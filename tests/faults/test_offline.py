"""Nothing goes to a network unless it was asked for."""

import subprocess
import sys
from pathlib import Path

from tests.faults.preloaded import NETWORK, preloaded


def test_the_whole_job_runs_without_a_single_try_at_a_network(tmp_path: Path) -> None:
    environment = preloaded(NETWORK, tmp_path)
    notes = tmp_path / "notes"
    # As a user has it: what keeps the hub away in other tests must not be what keeps it away here.
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.offline_job", str(tmp_path), str(notes)],
        env={**environment, "NETWORK_NOTES": str(notes)},
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "tags.html").is_file()
    # The last of them alone: the one that shows that native code cannot go past unseen.
    assert notes.read_text(encoding="utf-8") == "connect\n"
