"""What moved between two results of a benchmark, figure by figure.

``python -m benchmarks.diff`` compares the newest results in ``benchmarks/results`` with the last
ones of their kind, ``python -m benchmarks.diff accuracy`` those of one kind, and
``python -m benchmarks.diff OLD.md NEW.md`` any two files.
"""

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import RESULTS

_NAME = re.compile(r"(?P<kind>.+)_(?P<hardware>[^_]+)_(?P<date>\d{4}-\d\d-\d\d)")
_CELLS = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"\|[\s:|-]+\|")
_FIGURE = re.compile(r"~?([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)", re.IGNORECASE)
_FACTS_LEFT_OUT = ("date",)

Key = tuple[str, ...]


class Result(NamedTuple):
    """A file of results: ``<kind>_<hardware>_<date>.md``."""

    path: Path
    kind: str
    date: str


class Moved(NamedTuple):
    """A cell that two results give differently; ``old`` or ``new`` is None where one lacks it."""

    place: Key
    old: str | None
    new: str | None

    def __str__(self) -> str:
        """One line, with the relative change where both are figures."""
        place = ", ".join(part for part in self.place if part)
        if self.old is None or self.new is None:
            return f"{place}: {'new' if self.old is None else 'gone'}"
        change = relative_change(self.old, self.new)
        return f"{place}: {self.old} -> {self.new}" + (f" ({change})" if change else "")


class ReportTable(NamedTuple):
    """A table as it stands in a report, under the line before it."""

    caption: str
    columns: Key
    rows: tuple[Key, ...]


def results(folder: Path) -> list[Result]:
    """All results of a folder, the oldest first."""
    named = [(path, _NAME.fullmatch(path.stem)) for path in folder.glob("*.md")]
    found = [Result(path, name["kind"], name["date"]) for path, name in named if name]
    return sorted(found, key=lambda result: (result.date, result.path.name))


def tables(text: str) -> list[ReportTable]:
    """All tables of a report in Markdown."""
    found: list[ReportTable] = []
    caption, block = "", list[str]()
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
            continue
        if len(block) > 1 and _RULE.fullmatch(block[1]):
            columns, _, *rows = map(_cells, block)
            found.append(ReportTable(caption, columns, tuple(rows)))
        said = "" if line.startswith("#") else line.strip()
        caption, block = said or ("" if block else caption), []
    return found


def moved(old: str, new: str) -> tuple[list[Moved], int]:
    """Cells that differ between two reports, in the order of the new one, and how many agree."""
    before, now = _numbered(tables(old)), _numbered(tables(new))
    lines: list[Moved] = []
    same = 0
    for name in [*now, *(name for name in before if name not in now)]:
        if name not in before or name not in now:
            lines.append(_there(name, name in now))
            continue
        depth = _key_columns(before[name], now[name])
        then, cells = _by_place(before[name], depth), _by_place(now[name], depth)
        for row in [*cells, *(row for row in then if row not in cells)]:
            if row not in then or row not in cells:
                lines.append(_there((*name, *row), row in cells))
                continue
            columns = [*cells[row], *(one for one in then[row] if one not in cells[row])]
            found = [_compare((*name, *row), one, then[row], cells[row]) for one in columns]
            lines += [cell for cell in found if cell]
            same += sum(cell is None for cell in found)
    return lines, same


def relative_change(old: str, new: str) -> str:
    """The change from one cell to another, "" where one does not begin with a figure.

    >>> relative_change("80.0 ± 0.1", "84.0 ± 0.2"), relative_change("1,000 MB", "950 MB")
    ('+5.0 %', '-5.0 %')
    """
    before, now = _figure(old), _figure(new)
    if before is None or now is None:
        return ""
    return f"{100 * (now - before) / abs(before):+.1f} %" if before else "from 0"


def _figure(cell: str) -> float | None:
    found = _FIGURE.match(cell)
    return float(found[1].replace(",", "")) if found else None


def _cells(line: str) -> Key:
    return tuple(cell.strip() for cell in _CELLS.split(line.strip())[1:-1])


def _numbered(found: Sequence[ReportTable]) -> dict[Key, ReportTable]:
    """Tables by caption and, where several have the same, by number."""
    seen: Counter[str] = Counter()
    named: dict[Key, ReportTable] = {}
    for table in found:
        seen[table.caption] += 1
        number = seen[table.caption]
        named[(table.caption, f"table {number}" if number > 1 else "")] = table
    return named


def _key_columns(*both: ReportTable) -> int:
    """So many columns from the left tell the rows of each table apart."""
    most = max(1, *(len(table.columns) - 1 for table in both))
    for depth in range(1, most):
        if all(len({row[:depth] for row in table.rows}) == len(table.rows) for table in both):
            return depth
    return most


def _by_place(table: ReportTable, depth: int) -> dict[Key, dict[str, str]]:
    """Cells by column, by what names their row; rows of one name are numbered."""
    seen: Counter[Key] = Counter()
    rows: dict[Key, dict[str, str]] = {}
    for row in table.rows:
        seen[row[:depth]] += 1
        number = seen[row[:depth]]
        name = (*row[:depth], f"row {number}" if number > 1 else "")
        if row[0] not in _FACTS_LEFT_OUT or table.columns[0]:
            rows[name] = dict(zip(table.columns[depth:], row[depth:], strict=False))
    return rows


def _compare(
    place: Key, column: str, old: Mapping[str, str], new: Mapping[str, str]
) -> Moved | None:
    before, now = old.get(column), new.get(column)
    return None if before == now else Moved((*place, column), before, now)


def _there(place: Key, now: bool) -> Moved:
    return Moved(place, None if now else "", "" if now else None)


def compare(old: Path, new: Path) -> Iterator[str]:
    """Lines that say what moved between two files."""
    lines, same = moved(old.read_text(encoding="utf-8"), new.read_text(encoding="utf-8"))
    yield f"{old.name} -> {new.name}"
    yield from (f"  {line}" for line in lines)
    yield f"  {len(lines):,} moved, {same:,} as before"


def compare_kinds(folder: Path, kind: str = "") -> Iterator[str]:
    """Lines for one kind, else for every kind that has a result of the newest day."""
    found = results(folder)
    if kind and not any(result.kind == kind for result in found):
        there = ", ".join(sorted({result.kind for result in found})) or "none"
        raise SystemExit(f"no result of the kind {kind!r} in {folder}: there are {there}")
    newest = found[-1].date if found else ""
    for name in [kind] if kind else sorted({r.kind for r in found if r.date == newest}):
        last = [result.path for result in found if result.kind == name][-2:]
        if len(last) < 2:
            yield f"{name}: {last[0].name} is the only result of its kind"
        else:
            yield from compare(*last)


def main() -> None:
    """Print what moved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="a kind of result, or an old and a new file")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="where the results lie")
    options = parser.parse_args()
    if len(options.what) > 2:
        parser.error("give one kind, or an old and a new file")
    if len(options.what) == 2:
        missing = [name for name in options.what if not Path(name).is_file()]
        if missing:
            parser.error(f"{missing[0]} is no file")
        lines = compare(*map(Path, options.what))
    else:
        lines = compare_kinds(options.folder, *options.what)
    sys.stdout.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    main()
