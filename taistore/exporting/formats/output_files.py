"""Files and folders of an export appear whole, and only what is ours is replaced."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from taistore.errors import ExportError
from taistore.exporting.folder_lock import locked_folder
from taistore.store.places import whole_file

MARK = ".taistore-export.json"
"""In a folder of ours: the files that are ours."""


def require_free_file(path: Path, *, overwrite: bool) -> None:
    """Raise :class:`ExportError` where a file cannot be written, or is there already."""
    if path.is_dir():
        raise ExportError(f"{path} is a folder: name a file for out=")
    if path.exists() and not overwrite:
        raise ExportError(f"{path} is there already: give overwrite=, or another out=")


@contextlib.contextmanager
def writing_beside(path: Path) -> Iterator[None]:
    """Make the folder that ``path`` is in, and keep other exports out of it meanwhile."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked_folder(path.parent):
            yield
    except OSError as error:
        raise _unwritable(path, error) from error


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file; a kill leaves the old one or the new one."""
    try:
        with whole_file(path) as part:
            write(part)
    except OSError as error:
        raise _unwritable(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """A JSON file, whole. Lone surrogates of file names are written as escapes."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, indent=1)
    write_file(path, lambda part: part.write_text(text + "\n", encoding="utf-8"))


def require_free_folder(path: Path, *, overwrite: bool) -> None:
    """Raise :class:`ExportError` where a folder holds anything, or what is not of an export."""
    if not path.exists():
        return
    if not path.is_dir() or path.is_symlink():
        raise ExportError(f"{path} is no folder: name one for out=")
    held = {file.relative_to(path).as_posix() for file in _files(path)}
    if not held:
        return
    ours = _ours(path)
    if others := held - ours:
        raise ExportError(
            f"{path} holds what is not of an export, such as {min(others)}: name another out="
        )
    if not overwrite:
        raise ExportError(f"{path} is there already: give overwrite=, or another out=")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``path`` in the end; see :data:`MARK`."""
    part, old = (path.with_name(path.name + end) for end in (".part", ".old"))
    try:
        for left in (part, old):
            # Of an export that was killed; what else is called so is not touched.
            if left.is_dir() and (left / MARK).is_file():
                shutil.rmtree(left)
        part.mkdir(parents=True)
        (part / MARK).write_text('{"files": []}', encoding="utf-8")
        yield part
        names = sorted(file.relative_to(part).as_posix() for file in _files(part))
        (part / MARK).write_text(json.dumps({"files": names}), encoding="utf-8")
        if path.exists():
            path.rename(old)
        part.rename(path)
        if old.is_dir() and (old / MARK).is_file():
            shutil.rmtree(old)
        elif old.is_dir():
            old.rmdir()
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        if (part / MARK).is_file():
            shutil.rmtree(part, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    for found, folders, names in os.walk(folder):
        # A link to a folder is a file of the folder that it is in.
        links = [name for name in folders if Path(found, name).is_symlink()]
        yield from (Path(found, name) for name in (*names, *links))


def _ours(folder: Path) -> set[str]:
    try:
        told = json.loads((folder / MARK).read_text(encoding="utf-8"))
        return {MARK, *map(str, told["files"])}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()


def _unwritable(path: Path, error: OSError) -> ExportError:
    return ExportError(f"{path}: cannot be written ({error.strerror or error}): name another out=")
