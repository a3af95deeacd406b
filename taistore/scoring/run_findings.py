"""What is wrong with the recorded runs of a store: their files, versions and leftovers."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from taistore.adapter.known_labels import KNOWN, read_known
from taistore.adapter.run_files.kept.kept_shift import read_image_side
from taistore.adapter.run_files.run_folder import folder_of
from taistore.contracts import TABLES
from taistore.errors import ScoringError, StoreError, TrainingError
from taistore.progress import Progress, no_progress
from taistore.store.lance_errors import UnreachableError
from taistore.store.run_rows import RUNS, RunRow
from taistore.store.store import Store
from taistore.store.tables.table_names import kind_and_encoder
from taistore.store.verification.finding import SETTLED, Code, Finding
from taistore.store.verification.table_files import is_old, removed_all

_LEFTOVERS = ("*.part", "*.parts", "*.tmp")


def run_findings(
    store: Store,
    *,
    repair: bool = False,
    older_than: timedelta = SETTLED,
    progress: Progress = no_progress,
) -> Iterator[Finding]:
    """Runs that cannot be used or resumed, and what killed jobs left in their folders.

    Files are held against the SHA-256 in the run's card. ``repair`` removes leftovers of files and
    empty folders that nothing has changed in within ``older_than``.
    """
    runs = store.runs()
    known = {info.encoder_id for info in store.encoders()}
    folders = set()
    with progress("verify runs", total=len(runs), unit="run") as bar:
        for run in runs:
            # Nothing is fetched into the folder of a run that may be at work there.
            folder = folder_of(store, run)
            folders.add(folder.absolute())
            if run.encoder_id not in known:
                yield _encoderless(store, run)
            elif run.status == "finished":
                yield from _damaged(store, run, folder)
            yield from _versions(store, run)
            yield from _leftovers(run.run_id, folder, repair=repair, older_than=older_than)
            bar.advance()
    yield from _strays(store, folders, repair=repair, older_than=older_than)


def _finding(code: Code, run_id: str, what: str, remedy: str) -> Finding:
    return Finding(code=code, table=run_id, what=what, remedy=remedy)


def _encoderless(store: Store, run: RunRow) -> Finding:
    tables = {kind_and_encoder(name)[1] for name in store.table_names()}
    # One that was removed has left no table, and whoever removed it was told of the run.
    removed = run.encoder_id not in tables
    return Finding(
        code="unknown-encoder",
        table=run.run_id,
        what=f"is of encoder {run.encoder_id}, which the store does not list",
        remedy="run a job with that encoder again, which lists it"
        + (f", or remove the run with 'taistore runs rm {run.run_id}'" if removed else ""),
        severity="warning" if removed else "error",
    )


def _damaged(store: Store, run: RunRow, folder: Path) -> Iterator[Finding]:
    again = "put its folder back from a backup, or train again"
    try:
        # Here: a store without runs is looked at without loading torch.
        from taistore.scoring.loaded_run import open_run

        open_run(store, run.run_id)
    except UnreachableError:
        raise
    except (StoreError, TrainingError, ScoringError) as error:
        yield _finding("damaged-run", run.run_id, str(error), again)
        return
    try:
        read_image_side(folder)
        if (folder / KNOWN).is_file():
            read_known(folder)
    except TrainingError as error:
        yield _finding("damaged-run", run.run_id, str(error), again)


def _versions(store: Store, run: RunRow) -> Iterator[Finding]:
    for table, version in run.table_versions.items():
        kind, encoder_id = kind_and_encoder(table)
        if kind not in TABLES:
            continue
        newest = store.versions([(kind, encoder_id)]).get(table, 0)
        if version > newest:
            what = f"has read version {version} of {table}, whose newest is {newest}"
            remedy = "the table has lost what came after: put it back from a backup"
            yield _finding("lost-version", run.run_id, what, remedy)
        elif run.status != "finished" and not store.has_version(
            kind, version, encoder_id=encoder_id
        ):
            what = f"is not finished, and version {version} of {table}, which it reads, is gone"
            yield _finding("gone-version", run.run_id, what, "train a new run")


def _leftovers(
    run_id: str, folder: Path, *, repair: bool, older_than: timedelta
) -> Iterator[Finding]:
    if not folder.is_dir():
        return
    found = [path for pattern in _LEFTOVERS for path in folder.glob(pattern)]
    old = sorted(path for path in found if is_old(path, older_than))
    if old:
        yield Finding(
            code="leftover",
            table=run_id,
            what=f"a killed job left {', '.join(map(str, old))}",
            remedy="repair= removes it; tags in a folder *.parts are gone on with by the same "
            "'taistore score'",
            severity="warning",
            repaired=repair and removed_all(old),
        )


def _strays(
    store: Store, known: set[Path], *, repair: bool, older_than: timedelta
) -> Iterator[Finding]:
    """Folders of runs that no row names: a job was killed before it wrote that."""
    if "://" in store.uri:
        return
    there = sorted((Path(store.uri) / RUNS).glob("*/"))
    for folder in (path for path in there if path.absolute() not in known):
        if not is_old(folder, older_than):
            continue
        found = Finding(
            code="leftover",
            table=folder.name,
            what=f"{folder} is of no run that the store lists",
            remedy="repair= removes it where it is empty; else look into it and delete it",
            severity="warning",
        )
        empty = not any(folder.iterdir())
        yield replace(found, repaired=repair and empty and removed_all([folder]))
