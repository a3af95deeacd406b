"""What keeps a store well: looked at whole, compacted, and rid of what killed jobs left."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from taistore.errors import StoreError
from taistore.progress import Progress
from taistore.store.maintenance import TableReport, optimize
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.project import Project
    from taistore.store.verification.finding import Verification


def verify(
    path: str | Path,
    *,
    repair: bool,
    restore: Sequence[str],
    older_than: timedelta | None,
    progress: Progress,
) -> "Verification":
    """What is wrong in the tables of a store, and in its runs where the tables can be read."""
    from taistore.scoring.run_findings import run_findings
    from taistore.store.verification.finding import SETTLED
    from taistore.store.verification.verify_store import verify_store

    age = SETTLED if older_than is None else older_than
    found = verify_store(path, repair=repair, restore=restore, older_than=age, progress=progress)
    if {"labels", "encoders", "runs"} <= found.tables.keys():
        runs = run_findings(Store.open(path), repair=repair, older_than=age, progress=progress)
        found = replace(found, findings=(*found.findings, *runs))
    return found


def optimize_project(project: "Project", *, keep_days: float) -> list[TableReport]:
    """Optimize all tables, and remove what is left of killed jobs in the folders of runs."""
    from taistore.adapter.run_files.run_removal import drop_leftovers
    from taistore.adapter.run_files.unrecorded import drop_unrecorded

    reports = optimize(project.store, keep_days=keep_days, progress=project.progress)
    for path in drop_leftovers(project.store):
        project.note(f"removed what a killed job has left: {path}")
    for name in drop_unrecorded(project.store):
        project.note(f"removed what a run that was killed before it began has left: {name}")
    return reports


def tidy(project: "Project") -> None:
    """Compact what a large job left in many fragments; another writer may keep it from that."""
    try:
        optimize(project.store, only_due=True, progress=project.progress)
    except StoreError as error:
        project.note(f"note: not compacted ({error}); 'taistore optimize' does it later")
