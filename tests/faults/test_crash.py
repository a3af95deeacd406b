"""Jobs killed before and after calls that change their files end like jobs that nobody killed.

The long form (``-m faults``) kills every job at 120 moments or at all that there are;
``python -m benchmarks.crash`` writes its figures down.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.crash_jobs import JOBS
from tests.faults.crash_sweep import HEAVY, LIGHT, Findings, Sweep, compiler, warm_process

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C compiler, which is not here")

FEW, MANY = 4, 120


def _sweep(folder: Path, jobs: Sequence[str], modules: Sequence[str], most: int) -> list[Findings]:
    with warm_process(folder, modules) as warm:
        found = []
        for job in jobs:
            sweep = Sweep(warm, job)
            for call, after in sweep.moments(most):
                sweep.kill(call, after)
            found.append(sweep.found)
    return found


def _require_clean(found: Findings, *, fewest_kills: int) -> None:
    assert found.blocked == []
    assert found.different == []
    assert found.left == []
    assert found.kills >= fewest_kills


def test_killed_at_a_few_calls_and_run_again_gives_the_same(tmp_path: Path) -> None:
    init, texts = _sweep(tmp_path, ("init", "ingest-texts"), LIGHT, FEW)
    _require_clean(init, fewest_kills=FEW - 1)
    _require_clean(texts, fewest_kills=FEW - 1)
    assert init.calls > 20
    assert texts.calls > 20


@pytest.mark.faults
@pytest.mark.parametrize("job", JOBS)
def test_killed_at_every_call_and_run_again_gives_the_same(tmp_path: Path, job: str) -> None:
    (found,) = _sweep(tmp_path, (job,), HEAVY, MANY)
    # A job with threads does not always make the same calls.
    _require_clean(found, fewest_kills=min(2 * found.calls, MANY) * 9 // 10)
