"""Names that people give runs: such a name is the run's id, by which every command takes it."""

import contextlib
import re
from collections.abc import Iterator

from taistore.errors import TrainingError
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_OF_LEFTOVERS = (".part", ".parts", ".tmp")
"""Endings by which ``verify`` knows what a killed job left."""


def require_new_name(store: Store, name: str) -> None:
    """Raise :class:`TrainingError` where a run cannot be called so, or another one is.

    Names that differ in case only are one on some disks, and taken for one everywhere.
    """
    if not _NAME.fullmatch(name) or name == "latest" or name.endswith(_OF_LEFTOVERS):
        raise TrainingError(
            f"a run cannot be called {name!r:.80}: use up to 64 letters (a to z), digits, '-', '_' "
            "and '.', a letter or digit first, such as garden-1"
        )
    for run in store.runs():
        if run.run_id.casefold() == name.casefold():
            raise _taken(run.run_id)


@contextlib.contextmanager
def claimed(store: Store, row: RunRow) -> Iterator[None]:
    """The row is the store's before a file of a run with a name is written; an error takes it back.

    Raises :class:`TrainingError` where another process was first.
    """
    if not store.append("runs", [row.to_table()]):
        raise _taken(row.run_id)
    try:
        yield
    except Exception:
        store.forget_run(row.run_id)
        raise


def _taken(name: str) -> TrainingError:
    return TrainingError(
        f"a run {name!r} is in the store already: choose another name, or remove that one "
        f"(taistore runs rm {name})"
    )
