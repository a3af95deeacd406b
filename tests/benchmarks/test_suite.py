"""The performance suite: its rows, their file, and how parts measured again join the others."""

import importlib
import inspect
import json
from pathlib import Path

import pytest

from benchmarks.suite.__main__ import PARTS
from benchmarks.suite.growth import exponent
from benchmarks.suite.rows import Row, at_least, at_most, merged, read_rows, write_rows
from benchmarks.suite.turns import apart, costs


def _row(part: str, ratio: float = 2.0) -> Row:
    return at_least(f"{part}: ms", ours=1.0, other=ratio, ratio=ratio, target=2)


def test_a_target_is_held_or_not() -> None:
    assert _row("a", 2.0).holds
    assert not _row("a", 1.99).holds
    assert at_most("a: x", ours=1, other=1, ratio=1.0, target=1).holds
    assert not at_most("a: x", ours=1, other=1, ratio=1.01, target=1).holds
    assert (_row("a").target, at_most("a", ours=1, other=1, ratio=1, target=1.05).target) == (
        ">= 2",
        "<= 1.05",
    )


def test_rows_go_to_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    assert read_rows(path) == []
    write_rows(path, [])
    assert read_rows(path) == []
    rows = [_row("a"), _row("b", 1.0)]
    write_rows(path, rows)
    assert read_rows(path) == rows
    assert [set(one) for one in json.loads(path.read_text())] == [
        {"question", "ours", "other", "ratio", "target", "holds"}
    ] * 2


def test_parts_measured_again_take_the_place_of_theirs() -> None:
    old = [_row("a", 1.0), _row("b", 1.0), _row("gone", 1.0)]
    assert merged(old, [_row("b", 3.0)], order=["b", "a"]) == [_row("b", 3.0), _row("a", 1.0)]


def test_pieces_take_turns() -> None:
    seen: list[str] = []
    found = costs({"x": lambda: seen.append("x"), "y": lambda: seen.append("y")}, rounds=2)
    assert seen == ["x", "y"] * 3
    assert found["x"].wall >= 0


def test_work_apart_returns_what_it_found() -> None:
    assert apart(max, 3, 5) == 5


@pytest.mark.parametrize("name", PARTS)
def test_every_part_answers(name: str) -> None:
    part = importlib.import_module(f"benchmarks.suite.{name}")
    assert list(inspect.signature(part.answer).parameters) == ["work", "full"]
    assert part.__doc__


def test_the_exponent_is_that_of_a_power() -> None:
    sizes = [1_000, 10_000, 100_000]
    assert exponent(sizes, [3e-6 * size**1.2 for size in sizes]) == pytest.approx(1.2)
