"""Tables with prompt learners that are killed and run again, or run twice at once."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taistore.prompting.prompt_job import LearnerJob
from taistore.reproduction.table_report import Reproduction
from taistore.store.store import Store
from tests.encoders import small_models
from tests.killing import ROOT, run_and_kill
from tests.reproduction.small_sets import own_form
from tests.reproduction.table_job import LEARNERS, make

EPOCHS = 50
"""Of the learners, an epoch being one step; ahead of them the paper's run is evaluated."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Reproduction]]:
    """Each table as it comes out at once, and the folder that it was made in."""
    made = {}
    for name in LEARNERS:
        folder = tmp_path_factory.mktemp(name)
        small_models.save("small-resnet", folder)
        own_form(folder / "data")
        made[name] = folder, make(folder, name)
    return made


@pytest.fixture
def learnt(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that learners take in this process."""
    steps: list[int] = []
    learn = LearnerJob.learn

    def counting(self: LearnerJob, step: int, *arguments: Any, **named: Any) -> float:
        steps.append(step)
        return learn(self, step, *arguments, **named)

    monkeypatch.setattr(LearnerJob, "learn", counting)
    return steps


@contextlib.contextmanager
def own_folder(folder: Path) -> Iterator[Path]:
    """The same folder, as its stores name the paths of photos, with no work in it; put back."""
    kept = (folder / "work").rename(folder / "kept")
    yield folder
    shutil.rmtree(folder / "work")
    kept.rename(folder / "work")


def tasks(found: Reproduction) -> list[tuple[str, str]]:
    """What each run of the store is and how it stands."""
    rows = Store.open(found.sets[0].store).runs()
    return sorted((row.task, row.status) for row in rows)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("table1", 1 + EPOCHS // 2),  # in the middle of learning
        ("table3", 1 + EPOCHS // 2),
        ("table1", 1 + EPOCHS + 2),  # behind the learner, when it is averaged
    ],
)
def test_killed_in_the_middle_and_run_again_it_ends_the_same(
    undisturbed: dict[str, tuple[Path, Reproduction]],
    tmp_path: Path,
    learnt: list[int],
    name: str,
    steps: int,
) -> None:
    folder, whole = undisturbed[name]
    with own_folder(folder):
        job = ("tests.reproduction.table_job", str(folder), name, str(tmp_path / "table.json"))
        assert run_and_kill(*job, cwd=tmp_path, steps=steps, ahead=1)
        again = make(folder, name)
        assert again.sets[0].rows == whole.sets[0].rows
        assert tasks(again) == tasks(whole)
        # Each step was saved ahead of the next one: at most that which was under way is taken anew.
        left = EPOCHS - (steps - 1)
        assert learnt == list(range(EPOCHS))[-len(learnt) :] if learnt else left <= 0
        assert len(learnt) <= max(left + 1, 0)
        learnt.clear()
        assert make(folder, name).sets[0].trained == 0
        assert learnt == []


def test_of_two_at_once_the_second_waits_and_uses_what_the_first_made(
    undisturbed: dict[str, tuple[Path, Reproduction]], tmp_path: Path
) -> None:
    folder, whole = undisturbed["table1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
    outs = [tmp_path / "first.json", tmp_path / "second.json"]
    with own_folder(folder), contextlib.ExitStack() as stack:

        def started(out: Path) -> subprocess.Popen[bytes]:
            job = ["tests.reproduction.table_job", str(folder), "table1", str(out)]
            process = subprocess.Popen(
                [sys.executable, "-m", *job],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                cwd=tmp_path,
            )
            return stack.enter_context(process)

        def allowed(process: subprocess.Popen[bytes], steps: int) -> None:
            assert process.stdin is not None
            process.stdin.write(b"." * steps)
            process.stdin.flush()

        first = started(outs[0])
        allowed(first, 20)
        assert first.stdout is not None
        assert len(first.stdout.read(21)) == 21  # it is learning, and waits
        second = started(outs[1])
        allowed(second, 200)
        assert second.stderr is not None
        assert any(b"another process is at work" in line for line in second.stderr)
        allowed(first, 200)
        assert (first.communicate()[0] != b"", first.returncode) == (True, 0)
        steps, _ = second.communicate()
        assert second.returncode == 0
        # Three evaluations, and nothing else.
        assert len(steps) == 3
        tables = [json.loads(out.read_text(encoding="utf-8"))["sets"][0] for out in outs]
        assert [table["trained"] for table in tables] == [2, 0]
        expected = whole.to_json()["sets"][0]["here"]
        assert tables[0]["here"] == tables[1]["here"] == expected
        assert tasks(make(folder, "table1")) == tasks(whole)
