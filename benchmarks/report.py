"""Writes what a benchmark found as ``benchmarks/results/<what>_<hardware>_<date>.md``."""

import os
import platform
import re
import shlex
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).resolve().parent / "results"

_PACKAGES = ("taistore", "torch", "numpy", "polars", "pyarrow", "lancedb", "pylance", "pillow")


class Table(NamedTuple):
    """One table of a report; every row has a cell per column."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""


class Hardware(NamedTuple):
    """What a benchmark ran on."""

    processor: str
    cores: int
    memory_gib: float
    device: str

    @property
    def slug(self) -> str:
        """Short enough for a file name, such as ``intel-xeon-processor-2-cores``."""
        name = self.device or f"{self.processor} {self.cores} cores"
        return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def hardware(*, device: str = "") -> Hardware:
    """This machine; ``device`` is the accelerator's name where one did the work."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text(encoding="utf-8"))
        processor = found[1].strip() if found else processor
    processor = re.sub(r"\((R|TM)\)", "", processor)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Hardware(processor, len(os.sched_getaffinity(0)), memory, device)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide how fast taistore is."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "from the checkout" if package == "taistore" else "not installed"
    return found


def spread(values: Sequence[float]) -> str:
    """Mean and deviation over seeds, as a cell.

    >>> spread([82.0, 84.0])
    '83.0 ± 1.0'
    """
    return f"{statistics.fmean(values):.1f} ± {statistics.pstdev(values):.1f}"


def write_report(
    what: str,
    *,
    title: str,
    tables: Sequence[Table],
    text: str = "",
    device: str = "",
    folder: Path = RESULTS,
) -> Path:
    """Write one report and return its path; a later one of the same day replaces it.

    ``text`` comes first, in Markdown: what was measured, how, and what it shows.
    """
    machine = hardware(device=device)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = f"-m {module.name}" if module is not None else Path(sys.argv[0]).name
    # Where a folder lay on this machine is nobody's business; its name is enough.
    given = [f"FOLDER/{Path(a).name}" if Path(a).is_absolute() else a for a in sys.argv[1:]]
    command = f"python {program} {shlex.join(given)}".strip()
    lines = [f"# {title}", ""]
    if text:
        lines += [text.strip(), ""]
    for table in tables:
        lines += [*_markdown(table), ""]
    on = f"{machine.processor}, {machine.cores} cores, {machine.memory_gib:.0f} GiB"
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    facts = {"hardware": f"{machine.device}; {on}" if device else on, "versions": known}
    facts |= {"date": today, "command": f"`{command}`"}
    lines += _markdown(Table(("", ""), [(name, value) for name, value in facts.items()]))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{what}_{machine.slug}_{today}.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _markdown(table: Table) -> list[str]:
    lines = [table.caption, ""] if table.caption else []
    lines.append(f"| {' | '.join(table.columns)} |")
    lines.append("|" + "|".join("---" for _ in table.columns) + "|")
    for row in table.rows:
        cells = [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return lines
