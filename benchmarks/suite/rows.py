"""Rows of the performance suite: a question, two sides measured in turn, a ratio, a target."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple


class Row(NamedTuple):
    """``question`` begins with the name of its part, such as ``scoring: …``, and gives the unit.

    ``ours`` and ``other`` are in that unit; ``ratio`` is what ``target`` (``>= 4``) is about.
    """

    question: str
    ours: float
    other: float
    ratio: float
    target: str
    holds: bool

    @property
    def part(self) -> str:
        """The part of the suite that asked."""
        return self.question.partition(":")[0]

    def cells(self) -> list[object]:
        """As a row of a report."""
        return [*self[:5], "yes" if self.holds else "no"]

    def to_json(self) -> dict[str, Any]:
        """Plain values by field name."""
        return self._asdict()


COLUMNS = Row._fields


def at_least(question: str, *, ours: float, other: float, ratio: float, target: float) -> Row:
    """A row that holds where the ratio is ``target`` or more.

    >>> at_least("x: images a second", ours=4, other=2, ratio=2, target=1.5).holds
    True
    """
    return Row(question, ours, other, ratio, f">= {target:g}", ratio >= target)


def at_most(question: str, *, ours: float, other: float, ratio: float, target: float) -> Row:
    """A row that holds where the ratio is ``target`` or less."""
    return Row(question, ours, other, ratio, f"<= {target:g}", ratio <= target)


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, none where there is no file."""
    if not path.exists():
        return []
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as a JSON list, a row a line; whole or not at all."""
    lines = ",\n".join(f"  {json.dumps(row.to_json(), ensure_ascii=False)}" for row in rows)
    part = path.with_name(path.name + ".part")
    part.write_text(f"[\n{lines}\n]\n" if lines else "[]\n", encoding="utf-8")
    part.replace(path)


def merged(old: Iterable[Row], new: Sequence[Row], *, order: Sequence[str]) -> list[Row]:
    """Old rows with those of the parts that were measured again replaced, in the suite's order."""
    again = {row.part for row in new}
    rows = [row for row in old if row.part not in again and row.part in order] + list(new)
    return sorted(rows, key=lambda row: order.index(row.part))
