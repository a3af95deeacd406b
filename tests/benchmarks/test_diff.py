"""What moved between two results of a benchmark, figure by figure."""

from pathlib import Path

import pytest

from benchmarks.diff import compare, compare_kinds, moved, relative_change, results
from benchmarks.report import RESULTS, Table, write_report

OLD = """# Title

Some text.

The ladder.

| photos | network | regions | adapter |
|---|---|---|---|
| VOC, 1,000 | default | 80.0 ± 0.1 | 85.0 |
| VOC, 1,000 | paper | 80.0 ± 0.1 | 82.0 |
| a\\|b | paper | 1,000 MB | 0 |

Cost.

| step | seconds |
|---|---|
| read | 2 |

|  |  |
|---|---|
| hardware | one |
| date | 2026-01-01 |
"""


def lines(new: str) -> list[str]:
    return [str(line) for line in moved(OLD, new)[0]]


def test_equal_reports_have_no_lines() -> None:
    # Three rows of two figures (or text), one second, one fact; a date is none.
    assert moved(OLD, OLD.replace("2026-01-01", "2026-02-01")) == ([], 8)


def test_each_figure_that_moved_is_named_with_its_relative_change() -> None:
    new = OLD.replace("| default | 80.0 ± 0.1", "| default | 84.0 ± 0.2").replace("1,000 MB", "950")
    assert lines(new.replace("| 0 |", "| 3 |")) == [
        "The ladder., VOC, 1,000, default, regions: 80.0 ± 0.1 -> 84.0 ± 0.2 (+5.0 %)",
        "The ladder., a\\|b, paper, regions: 1,000 MB -> 950 (-5.0 %)",
        "The ladder., a\\|b, paper, adapter: 0 -> 3 (from 0)",
    ]


def test_rows_columns_and_tables_that_are_new_or_gone_are_named() -> None:
    assert lines(OLD.replace("| VOC, 1,000 | paper | 80.0 ± 0.1 | 82.0 |\n", "")) == [
        "The ladder., VOC, 1,000, paper: gone"
    ]
    assert lines(OLD.replace("| read | 2 |", "| read | 2 |\n| write | 3 |")) == [
        "Cost., write: new"
    ]
    assert lines(OLD.replace("Cost.", "Price.")) == ["Price.: new", "Cost.: gone"]
    assert lines(OLD.replace("| seconds |", "| minutes |")) == [
        "Cost., read, minutes: new",
        "Cost., read, seconds: gone",
    ]


def test_rows_of_one_name_are_told_apart_by_further_columns_and_else_by_number() -> None:
    assert lines(OLD.replace("| default | 80.0 ± 0.1 | 85.0", "| default | 80.0 ± 0.1 | 86")) == [
        "The ladder., VOC, 1,000, default, adapter: 85.0 -> 86 (+1.2 %)"
    ]
    twice = OLD.replace("| read | 2 |", "| read | 2 |\n| read | 2 |")
    changed = twice.replace("| read | 2 |\n\n", "| read | 4 |\n\n")
    assert [str(line) for line in moved(twice, changed)[0]] == [
        "Cost., read, row 2, seconds: 2 -> 4 (+100.0 %)"
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [("-2", "-3", "-50.0 %"), ("~1.5e3", "3000", "+100.0 %"), ("fast", "2", ""), ("2", "slow", "")],
)
def test_relative_change(old: str, new: str, expected: str) -> None:
    assert relative_change(old, new) == expected


def test_the_newest_of_a_kind_is_compared_with_the_last_of_it(tmp_path: Path) -> None:
    for name, figure in (("a_cpu_2026-01-01", 1), ("a_gpu_2026-03-01", 2), ("a_cpu_2026-05-01", 3)):
        table = Table(("k", "f"), [("r", figure)])
        report = write_report("x", title="T", tables=[table], folder=tmp_path)
        report.rename(tmp_path / f"{name}.md")
    (tmp_path / "a-b_cpu_2026-05-01.md").write_text(OLD)
    (tmp_path / "old_cpu_2025-05-01.md").write_text(OLD)
    (tmp_path / "notes.md").write_text("none of these")
    assert list(compare_kinds(tmp_path)) == [
        "a_gpu_2026-03-01.md -> a_cpu_2026-05-01.md",
        "  r, f: 2 -> 3 (+50.0 %)",
        "  1 moved, 3 as before",
        "a-b: a-b_cpu_2026-05-01.md is the only result of its kind",
    ]
    assert list(compare_kinds(tmp_path, "old")) == [
        "old: old_cpu_2025-05-01.md is the only result of its kind"
    ]
    with pytest.raises(SystemExit, match=r"no result of the kind 'b' .*: there are a, a-b, old"):
        list(compare_kinds(tmp_path, "b"))


def test_every_result_that_is_kept_can_be_compared() -> None:
    assert len(results(RESULTS)) == len(list(RESULTS.glob("*.md"))) > 10
    for result in results(RESULTS):
        *found, last = compare(result.path, result.path)
        assert len(found) == 1
        assert not last.endswith(" 0 as before")
