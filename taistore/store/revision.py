"""Rows that are made from what a table holds: read, change, write, and again where others wrote.

Two jobs that change one row each read it, and whoever writes last would undo the other's change.
Here a write counts only where none of its rows changed since they were read.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from taistore.contracts import TABLES
from taistore.errors import StoreError
from taistore.store.arrow import filter_expression
from taistore.store.store import READ_AHEAD_BYTES, Store, writing

MOST_TRIES = 60
"""With a wait of up to a second between them: longer than any other job holds on to the rows."""

_SHORTEST_WAIT = 0.02
_LONGEST_WAIT = 1.0

_LOST = ("too many concurrent writers", "conflict", "incompatible transaction")
"""What Lance says where another commit came first."""

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What is to become of a table: rows to insert or replace, and keys whose rows are to go."""

    rows: Sequence[Row] = ()
    removed: Sequence[str] = ()
    known: frozenset[str] = field(default_factory=frozenset)
    """Keys of ``rows`` that the snapshot holds: where it holds all, an index can find them."""


class Snapshot:
    """A table as it was when this was made."""

    def __init__(self, store: Store, kind: str) -> None:
        self._dataset = store.dataset(kind) if store.has(kind) else None

    @property
    def dataset(self) -> Any:
        """The ``lance.LanceDataset``, None where there is no such table yet."""
        return self._dataset

    def rows(self, where: Mapping[str, Any]) -> list[Row]:
        """The rows with these values, as in :meth:`~taistore.store.store.Store.scan`."""
        if self._dataset is None:
            return []
        scanner = self._dataset.scanner(
            filter=filter_expression(where), io_buffer_size=READ_AHEAD_BYTES
        )
        return [row for batch in scanner.to_batches() for row in batch.to_pylist()]


def revise(store: Store, kind: str, plan: Callable[[Snapshot], Change]) -> Change:
    """Do in one commit what ``plan`` makes of a snapshot; plans anew where another job came first.

    ``kind`` has a single key column of text. ``plan`` may be called several times, and what it does
    besides must bear that. Returns the change that was done. Raises :class:`StoreError` where the
    store cannot be written, or other jobs come first again and again.
    """
    for attempt in range(MOST_TRIES):
        snapshot = Snapshot(store, kind)
        change = plan(snapshot)
        if not change.rows and not change.removed:
            return change
        if _done(store, kind, snapshot, change):
            return change
        time.sleep(random.uniform(0, min(_LONGEST_WAIT, _SHORTEST_WAIT * 2**attempt)))
    raise StoreError(
        f"{store.uri}: table {kind!r} is changed by other jobs all the time: wait for them, then "
        "run the same command again"
    )


def _done(store: Store, kind: str, snapshot: Snapshot, change: Change) -> bool:
    """Whether the change was written; False where a row was changed since the snapshot."""
    if snapshot.dataset is None:
        # Nobody has a row yet, so whoever inserts a key first has it.
        try:
            return store.append(kind, change.rows) == len(change.rows)
        except StoreError as error:
            if _came_second(error.__cause__):
                return False
            raise
    (key,) = TABLES[kind].key
    merge = snapshot.dataset.merge_insert(key).when_not_matched_insert_all()
    merge = merge.when_matched_update_all().conflict_retries(0)
    if any(row[key] not in change.known for row in change.rows):
        # Through an index, two inserts of one key would both be let in.
        merge = merge.use_index(False)
    if change.removed:
        quoted = ", ".join(_quoted(value) for value in change.removed)
        merge = merge.when_not_matched_by_source_delete(f"{key} IN ({quoted})")
    data = pa.Table.from_pylist(list(change.rows), schema=store.schema(kind))
    with writing(store.uri, kind):
        try:
            merge.execute(data)
        except OSError as error:
            if _came_second(error):
                return False
            raise
    return True


def _came_second(error: BaseException | None) -> bool:
    return any(words in str(error).lower() for words in _LOST)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
