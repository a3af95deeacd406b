"""The output in the making: whole parts, no surprises with files that are there."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taistore.contracts import SCORES
from taistore.errors import ScoringError
from taistore.scoring.tags import tag_parts as module
from taistore.scoring.tags.read_tags import read_tags
from taistore.scoring.tags.tag_parts import TagFile
from taistore.scoring.tags.untagged import Untagged

JOB = {"run": "r", "top-k": 2}


def rows(*ids: str, rank: int = 1) -> pa.Table:
    """One row per image."""
    columns: dict[str, Any] = {name: list(ids) for name in SCORES.names}
    columns |= {"rank": [rank] * len(ids), "score": [0.5] * len(ids)}
    return pa.Table.from_pydict(columns, schema=SCORES)


def counts(finished: tuple[int, Untagged]) -> tuple[int, int]:
    """How many tags were written, and how many images have none."""
    tags, untagged = finished
    return tags, untagged.count


def new(out: Path, **options: Any) -> TagFile:
    """A file keyed by image_id."""
    return TagFile(out, **({"job": JOB, "done_by": "image_id"} | options))


def resumed(out: Path, **options: Any) -> int:
    """How many images a new start finds done."""
    with contextlib.closing(new(out, **options)) as file:
        return file.resumed


def test_parts_are_resumed_and_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PART_IMAGES", 2)
    out = tmp_path / "deep" / "tags.jsonl"
    file = new(out)
    file.add(rows("a"), images=1)
    file.add(rows("b", "c"), images=2)
    file.add(rows("lost"), images=1)  # a kill comes before the next part is due
    file.close()
    again = new(out)
    assert again.resumed == 3
    assert again.done.new(["a", "b", "c", "lost"]) == [False, False, False, True]
    again.add(rows("d", rank=0), images=1)
    assert counts(again.finish()) == (3, 1)
    assert [row["image_id"] for row in read_tags(out)] == ["a", "b", "c"]
    assert list(out.parent.iterdir()) == [out]


def test_a_half_written_part_is_no_part(tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    file = new(out)
    file.add(rows("a"), images=1)
    file.flush()
    file.close()
    (tmp_path / "tags.csv.parts" / "part-00000001.tmp").write_bytes(b"half")
    again = new(out)
    assert again.resumed == 1
    again.finish()
    assert len(list(read_tags(out))) == 1


def test_a_part_is_written_when_time_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART_SECONDS", 0.0)
    out = tmp_path / "tags.csv"
    file = new(out)
    file.add(rows("a"), images=1)
    file.close()
    assert resumed(out) == 1


def test_a_finished_file_is_only_replaced_on_request(tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    new(out).finish()
    with pytest.raises(ScoringError, match=r"is there already, finished: give overwrite="):
        new(out)
    before = out.read_bytes()
    file = new(out, overwrite=True)
    file.add(rows("a"), images=1)
    file.flush()
    assert out.read_bytes() == before
    file.close()
    # An interrupted replacement goes on where it stopped.
    file = new(out, overwrite=True)
    assert file.resumed == 1
    file.finish()
    assert len(list(read_tags(out))) == 1


def test_parts_left_behind_by_a_finished_job_are_not_resumed(tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    file = new(out)
    file.add(rows("a"), images=1)
    file.flush()
    file.close()
    out.write_text("finished")
    later = (tmp_path / "tags.csv.parts" / "part-00000000.parquet").stat().st_mtime + 5
    os.utime(out, (later, later))
    assert resumed(out, overwrite=True) == 0


def test_a_job_killed_at_its_very_end_leaves_nothing_once_it_is_run_again(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    with contextlib.closing(new(out)) as file:
        file.add(rows("a"), images=1)
        file.flush()
        # What SIGKILL leaves between the finished file and the removal of its parts.
        out.write_text("whole", encoding="utf-8")
    assert (tmp_path / "t.csv.parts").exists()
    with pytest.raises(ScoringError, match="is there already, finished"):
        new(out)
    assert out.read_text(encoding="utf-8") == "whole"
    assert not (tmp_path / "t.csv.parts").exists()


def test_a_refused_job_keeps_the_parts_of_another_that_is_unfinished(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    out.write_text("whole", encoding="utf-8")
    os.utime(out, (0, 0))
    with contextlib.closing(new(out, overwrite=True)) as file:
        file.add(rows("a"), images=1)
        file.flush()
    for resume in (True, False):
        with pytest.raises(ScoringError, match="is there already, finished"):
            new(out, resume=resume)
    assert resumed(out, overwrite=True) == 1


def test_parts_of_another_job_are_not_mixed(tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    file = new(out)
    file.add(rows("a"), images=1)
    file.flush()
    file.close()
    other = {**JOB, "top-k": 3}
    with pytest.raises(ScoringError, match="an unfinished job with top-k 2, not 3"):
        new(out, job=other)
    assert resumed(out) == 1
    assert resumed(out, job=other, overwrite=True) == 0


def test_resuming_can_be_turned_off(tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    file = new(out)
    file.add(rows("a"), images=1)
    file.flush()
    file.close()
    assert resumed(out, resume=False) == 0


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "tags.csv").mkdir()
    with pytest.raises(ScoringError, match="is a directory: name a file"):
        new(tmp_path / "tags.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(ScoringError, match=r"file/x.csv: cannot be written \(Not a directory\)"):
        new(tmp_path / "file" / "x.csv")
    with pytest.raises(ScoringError, match=r"cannot be written"):
        new(Path("/proc/nowhere/x.csv"))


def test_a_full_disk_keeps_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "tags.csv"
    file = new(out)
    file.add(rows("a"), images=1)
    file.flush()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", full)
        file.add(rows("b"), images=1)
        with pytest.raises(ScoringError, match=r"No space left on device\): mend that"):
            file.flush()
    file.close()
    assert resumed(out) == 1


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    file = new(out)
    file.add(rows("a"), images=1)
    file.flush()
    file.close()
    part = tmp_path / "tags.csv.parts" / "part-00000000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(ScoringError, match=r"part-00000000.parquet: damaged"):
        new(out)


def test_a_second_job_at_the_same_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    file = new(out)
    file.add(rows("a"), images=1)
    file.flush()
    for options in ({}, {"overwrite": True}, {"resume": False}, {"job": {"run": "other"}}):
        with pytest.raises(ScoringError, match=r"tags.csv: another job is writing it: wait"):
            new(out, **options)
    file.add(rows("b"), images=1)
    assert counts(file.finish()) == (2, 0)
    assert list(tmp_path.iterdir()) == [out]
    new(out, overwrite=True).close()


def test_a_lock_whose_job_was_killed_does_not_hold(tmp_path: Path) -> None:
    out = tmp_path / "tags.csv"
    code = f"""
import os, pathlib, signal
import tests.scoring.test_tag_parts as t
file = t.new(pathlib.Path({str(out)!r}))
file.add(t.rows("a"), images=1)
file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    died = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert died.returncode == -signal.SIGKILL
    assert (tmp_path / "tags.csv.parts" / "lock").exists()
    assert resumed(out) == 1


def test_a_job_that_made_nothing_leaves_nothing(tmp_path: Path) -> None:
    file = new(tmp_path / "tags.csv")
    file.close()
    file.close()
    assert not list(tmp_path.iterdir())
