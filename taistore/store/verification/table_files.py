"""Whether every table can be read whole, and back to the version that could."""

import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from taistore.errors import StoreError
from taistore.printable import counted
from taistore.store.lance_errors import answering, writing
from taistore.store.verification.finding import Finding
from taistore.store.verification.table_folder import TableFolder

Look = tuple[Any, list[Finding]]
"""The table as it is now, None where it cannot be used, and what is wrong with it."""


def look_at_files(
    folder: TableFolder, *, repair: bool, restore: bool, older_than: timedelta
) -> Look:
    """Read every file of a table's newest version.

    ``restore`` leads a damaged table back to the last version that reads whole; :class:`StoreError`
    where nothing is damaged or no version is whole. ``repair`` removes what no version names.
    """
    try:
        # The note first: a commit in between makes it older than the manifests, never newer.
        noted, versions = folder.noted, folder.versions
        if not versions:
            _require_restorable(folder, restore, whole=None)
            return None, [_without_version(folder, repair=repair, older_than=older_than)]
        dataset, found = _newest(folder, max(noted, versions[0]))
        if restore:
            return _restored(folder, found)
        if dataset is None or found:
            return None, found
    except PermissionError as error:
        return None, [_forbidden(folder, error)]
    found += _damaged_indexes(dataset, folder.name, repair=repair)
    found += _orphans(folder, repair=repair, older_than=older_than)
    return dataset, found


def _newest(folder: TableFolder, noted: int) -> Look:
    newest = folder.versions[0]
    if newest < noted:
        what = f"its newest version is gone: Lance noted {noted}, the newest manifest is {newest}"
        return None, [_damage(folder, "lost-version", what, folder.last_whole(before=newest))]
    try:
        dataset = folder.opened(newest)
    except (OSError, ValueError, RuntimeError) as error:
        path = folder.manifest(newest)
        if "permission" in str(error).lower():
            return None, [_forbidden(folder, PermissionError(13, "Permission denied", path))]
        whole = folder.last_whole(before=newest - 1)
        return None, [_damage(folder, "damaged-manifest", f"{path} is damaged", whole)]
    broken = list(folder.broken_files(dataset))
    if not broken:
        return dataset, []
    whole = folder.last_whole(before=newest - 1)
    rows = int(dataset.count_rows())
    return None, [
        _damage(folder, "damaged-file", f"{file.path} {file.why}", whole, rows) for file in broken
    ]


def _damage(
    folder: TableFolder, code: Any, what: str, whole: Any, rows: int | None = None
) -> Finding:
    backup = "put the file back from a backup"
    if "cannot be read (" in what:
        told, remedy = "the table is unusable until then", "give yourself the right to read it"
    elif whole is None:
        told, remedy = "no version of the table reads whole", backup
    else:
        held = int(whole.count_rows())
        there = counted(held, "row") if rows is None else f"{held:,} of {counted(rows, 'row')}"
        told = f"version {whole.version} still reads whole, with {there}"
        remedy = f"{backup}, or go back to that version with restore={folder.name}"
    return Finding(code=code, table=folder.name, what=f"{what}; {told}", remedy=remedy)


def _forbidden(folder: TableFolder, error: PermissionError) -> Finding:
    return Finding(
        code="damaged-file",
        table=folder.name,
        what=f"{error.filename or folder.place} cannot be read ({error.strerror})",
        remedy="give yourself the right to read it",
    )


def _require_restorable(folder: TableFolder, restore: bool, *, whole: Any) -> None:
    if restore and whole is None:
        raise StoreError(
            f"{folder.place}: no version of it reads whole: put its files back from a backup"
        )


def _restored(folder: TableFolder, found: list[Finding]) -> Look:
    """Make the last whole version the newest; what came after it is lost."""
    if not found:
        raise StoreError(f"{folder.place}: nothing is damaged: leave out restore={folder.name}")
    whole = folder.last_whole(before=folder.versions[0])
    _require_restorable(folder, True, whole=whole)
    with writing(folder.place, folder.name):
        for version in folder.versions:
            if version > whole.version and not _opens(folder, version):
                # Lance looks at the newest manifest whatever is asked of it, so it must go aside.
                folder.set_aside(version)
        whole.restore()
    lost = f"went back to version {whole.version}: what was committed after it is lost"
    done = [
        replace(one, repaired=True, remedy=f"{lost}: run the jobs since then again")
        for one in found
    ]
    return folder.opened(), done


def _opens(folder: TableFolder, version: int) -> bool:
    try:
        folder.opened(version)
    except (OSError, ValueError, RuntimeError):
        return False
    return True


def _without_version(folder: TableFolder, *, repair: bool, older_than: timedelta) -> Finding:
    """A folder that is no table: a job was killed in making it, or its manifests are gone."""
    files = folder.files()
    lost = folder.noted > 0 or len(files) > 2
    found = Finding(
        code="no-version",
        table=folder.name,
        what=f"{folder.place} has {len(files)} files and no manifest"
        + (": its versions are gone" if lost else ": the job that made it was killed"),
        remedy="put the folder back from a backup" if lost else "run that job again",
        severity="error" if lost else "warning",
    )
    if not repair or files or folder.local is None or _young(folder.local, older_than):
        return found
    shutil.rmtree(folder.local, ignore_errors=True)
    return replace(found, repaired=not folder.local.exists())


def _damaged_indexes(dataset: Any, table: str, *, repair: bool) -> Iterator[Finding]:
    for index in dataset.describe_indices():
        try:
            with answering(dataset.uri):
                dataset.prewarm_index(index.name)
        except (OSError, ValueError, RuntimeError):
            if repair:
                with writing(dataset.uri, table):
                    dataset.drop_index(index.name)
            yield Finding(
                code="damaged-index",
                table=table,
                what=f"its index {index.name} cannot be read",
                remedy="repair= drops it, and 'taistore optimize' makes it again",
                repaired=repair,
            )


def _orphans(folder: TableFolder, *, repair: bool, older_than: timedelta) -> Iterator[Finding]:
    unnamed = folder.unnamed_files()
    if unnamed is None:
        yield Finding(
            code="not-checked",
            table=folder.name,
            what="an older version cannot be opened, so that nobody knows which files are orphans",
            remedy="'taistore optimize --keep-days 0' drops older versions",
            severity="warning",
        )
        return
    old = [path for path in unnamed if not _young(path, older_than)]
    if old:
        size = sum(path.stat().st_size for path in old)
        yield Finding(
            code="orphan-file",
            table=folder.name,
            what=f"{counted(len(old), 'file')}, {size:,} bytes, of no version, such as {old[0]}",
            remedy="repair= removes them",
            severity="warning",
            repaired=repair and removed_all(old),
        )


def removed_all(paths: Collection[Path]) -> bool:
    """Remove files and folders; whether none of them is left."""
    for path in paths:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:
            continue
    return not any(path.exists() for path in paths)


def _young(path: Path, older_than: timedelta) -> bool:
    return not is_old(path, older_than)


def is_old(path: Path, older_than: timedelta) -> bool:
    """Whether nothing of a file or folder was changed within that time."""
    try:
        newest = max(p.stat().st_mtime for p in (path, *path.rglob("*")))
    except OSError:  # it goes while we look: somebody is at work there
        return False
    return time.time() - newest >= older_than.total_seconds()
