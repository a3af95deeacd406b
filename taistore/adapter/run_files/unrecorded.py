"""Folders of runs that were killed before they had a row: no row names them, none resumes them."""

import shutil
from datetime import timedelta
from pathlib import Path

from taistore.store.run_rows import RUNS
from taistore.store.store import Store
from taistore.store.verification.table_files import is_old

YOUNGEST = timedelta(days=7)
"""As Lance does with files that no version names: a younger one may be of a run that begins now."""


def drop_unrecorded(store: Store) -> tuple[str, ...]:
    """Remove the folders of runs inside a local store that no row names; returns their names.

    One in which anything is younger than a week stays. What cannot be removed stays as well.
    """
    runs = Path(store.uri) / RUNS
    if "://" in store.uri or not runs.is_dir():
        return ()
    # The folders first: a run that gets its row in between is then among the rows.
    folders = [path for path in sorted(runs.iterdir()) if path.is_dir()]
    named = {run.checkpoint for run in store.runs()}
    gone = []
    for folder in folders:
        names = {f"{RUNS}/{folder.name}", str(folder.absolute())}
        if not names & named and is_old(folder, YOUNGEST):
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder.name)
    return tuple(name for name in gone if not (runs / name).exists())
