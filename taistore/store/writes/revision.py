"""Rows that are made from what a table holds: read, change, write, and again where others wrote.

Two jobs that change one row each read it, and whoever writes last would undo the other's change.
Here a write counts only where none of its rows changed since they were read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from taistore.errors import StoreError
from taistore.store.store import Store
from taistore.store.writes.commits import tries

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is to become of a table: rows to insert or replace, and keys whose rows are to go."""

    rows: Sequence[Row] = ()
    removed: Sequence[str] = ()


class Snapshot:
    """A table as it was when this was made."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store, self._kind = store, kind
        self._dataset = store.dataset(kind) if store.has(kind) else None

    @property
    def dataset(self) -> Any:
        """The ``lance.LanceDataset``, None where there is no such table yet."""
        return self._dataset

    def rows(self, column: str, values: Sequence[Any]) -> list[Row]:
        """The rows with one of these values of a column."""
        if self._dataset is None:
            return []
        return self._store.look_up(self._kind, column, values, over=self._dataset).to_pylist()


def revise(store: Store, kind: str, plan: Callable[[Snapshot], Change]) -> Change:
    """Do in one commit what ``plan`` makes of a snapshot; plans anew where another job came first.

    Labels come by their ids (:meth:`Store.by_id`). ``kind`` has a single key column of text.
    ``plan`` may be called several times, and what it does besides must bear that. Returns the
    change that was done. Raises :class:`StoreError` where the store cannot be written, or other
    jobs come first again and again.
    """
    # Whoever does not see a label would write its rows without it.
    store = store.by_id()
    for _ in tries():
        snapshot = Snapshot(store, kind)
        change = plan(snapshot)
        if not change.rows and not change.removed:
            return change
        if store.replace(kind, change.rows, over=snapshot.dataset, removed=change.removed):
            return change
    raise StoreError(
        f"{store.uri}: table {kind!r} is changed by other jobs all the time: wait for them, then "
        "run the same command again"
    )
