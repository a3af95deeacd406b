"""Compaction and indexes: what keeps a store fast after many appends, in bounded memory."""

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from time import time
from typing import Any

from taistore.contracts import TABLES
from taistore.defaults import KEEP_DAYS
from taistore.progress import Progress, no_progress
from taistore.store.lance_errors import writing
from taistore.store.store import Store
from taistore.store.tables.table_names import kind_and_encoder
from taistore.store.writes.commits import is_conflict
from taistore.store.writes.vector_index import INDEXED_KINDS, VECTOR, make_vector_index

MIN_INDEXED_ROWS = 10_000
"""Below this many rows a scan of the key column is as cheap as an index."""

DUE_FRAGMENTS = 48
"""A table with more fragments than this reads noticeably slower; large jobs then tidy up."""

_COMPACTION_ROWS = 1024

_TAG = "taistore-run-reads-"
_LATELY = "taistore-was-newest-"
"""Lance keeps a version that has a tag."""


@dataclass(frozen=True, slots=True)
class TableReport:
    """What ``optimize`` did to one table, and what it kept.

    ``versions_kept`` are older versions that are still there, because they were the newest within
    ``keep_days`` or because the unfinished runs ``kept_for_runs`` read them.
    """

    table: str
    rows: int
    fragments_before: int
    fragments_after: int
    indexed: tuple[str, ...]
    bytes_removed: int
    versions_kept: int
    kept_for_runs: tuple[str, ...]


def optimize(
    store: Store,
    *,
    keep_days: float = KEEP_DAYS,
    only_due: bool = False,
    progress: Progress = no_progress,
) -> list[TableReport]:
    """Merge small fragments, refresh indexes, drop versions that ended ``keep_days`` ago.

    ``only_due`` leaves tables alone that have at most :data:`DUE_FRAGMENTS` fragments, and makes no
    index over vectors (:mod:`taistore.store.writes.vector_index`).

    Safe beside writers: what they commit meanwhile is merged the next time; and beside readers that
    take less than ``keep_days``, since a version ends when the next one comes. With 0 no job may
    be reading. The versions that unfinished runs read are kept, so that these can be resumed.
    Raises :class:`StoreError` where a table cannot be written.
    """
    names = [name for name in store.table_names() if not only_due or _due(store, name)]
    reports: list[TableReport] = []
    if not names:
        return reports
    with progress("optimize", total=len(names), unit="table") as bar:
        for name in names:
            kind, encoder_id = kind_and_encoder(name)
            if kind in TABLES:
                with writing(store.uri, name):
                    keep = timedelta(days=keep_days)
                    reports.append(
                        _optimize_table(store, kind, encoder_id, keep, by_vector=not only_due)
                    )
            bar.advance()
    return reports


def _due(store: Store, name: str) -> bool:
    kind, encoder_id = kind_and_encoder(name)
    if kind not in TABLES:
        return False
    return len(store.dataset(kind, encoder_id).get_fragments()) > DUE_FRAGMENTS


def _pinned(store: Store, table: str) -> dict[int, list[str]]:
    """The versions of a table that unfinished runs read, and which runs these are."""
    pinned: dict[int, list[str]] = {}
    for run in store.runs():
        if run.status != "finished" and table in run.table_versions:
            pinned.setdefault(run.table_versions[table], []).append(run.run_id)
    return pinned


def _optimize_table(
    store: Store, kind: str, encoder_id: str | None, keep: timedelta, *, by_vector: bool
) -> TableReport:
    dataset = store.dataset(kind, encoder_id)
    before = len(dataset.get_fragments())
    if before > 1:
        _compact(store, kind, encoder_id)
    dataset = store.dataset(kind, encoder_id)
    indexed = _index(dataset, kind, by_vector=by_vector)
    # Only now: a run may have begun while the table was compacted.
    pinned = _pinned(store, store.table_name(kind, encoder_id))
    removed = _drop_versions(dataset, keep, set(pinned))
    dataset = store.dataset(kind, encoder_id)
    return TableReport(
        table=store.table_name(kind, encoder_id),
        rows=dataset.count_rows(),
        fragments_before=before,
        fragments_after=len(dataset.get_fragments()),
        indexed=indexed,
        bytes_removed=removed,
        versions_kept=len(dataset.versions()) - 1,
        kept_for_runs=tuple(sorted({run for runs in pinned.values() for run in runs})),
    )


def _compact(store: Store, kind: str, encoder_id: str | None) -> None:
    """Merge fragments; beside writers all but the first, which each of their commits touches."""
    for excluded in (False, True):
        dataset = store.dataset(kind, encoder_id)
        fragments = dataset.get_fragments()
        if len(fragments) < 2:
            return
        first = [fragments[0].fragment_id] if excluded else []
        try:
            dataset.optimize.compact_files(
                num_threads=1, batch_size=_COMPACTION_ROWS, excluded_fragment_ids=first
            )
        except (OSError, RuntimeError) as error:
            if not is_conflict(error):
                raise
        else:
            return


def _index(dataset: Any, kind: str, *, by_vector: bool) -> tuple[str, ...]:
    """Make the indexes that a table should have, and take new rows in; returns their columns.

    ``by_vector`` makes that of a large table's vectors, which takes minutes.
    """
    columns = TABLES[kind].indexed
    if dataset.count_rows() < MIN_INDEXED_ROWS:
        return ()
    vector: tuple[str, ...] = ()
    present = {tuple(index.field_names) for index in dataset.describe_indices()}
    try:
        for column in columns:
            if (column,) not in present:
                dataset.create_scalar_index(column, "BTREE")
        if by_vector and kind in INDEXED_KINDS and make_vector_index(dataset):
            vector = (VECTOR,)
        dataset.optimize.optimize_indices()
    except (OSError, RuntimeError) as error:
        # Another optimize is at it: what it leaves out comes with the next.
        if not is_conflict(error):
            raise
    return (*columns, *vector)


def _drop_versions(dataset: Any, keep: timedelta, pinned: set[int]) -> int:
    """Remove versions that ended ``keep`` ago but those of unfinished runs; returns bytes freed.

    Lance goes by when a version was made: a table that nobody wrote for long would lose the version
    that readers have open as soon as another comes. Tags keep it, as they do those of runs.
    """
    versions = dataset.versions()
    limit = time() - keep.total_seconds()
    lately = {a["version"] for a, b in pairwise(versions) if b["timestamp"].timestamp() > limit}
    wanted = {f"{_TAG}{version}": version for version in pinned}
    wanted |= {f"{_LATELY}{version}": version for version in lately}
    there = {name for name in dataset.tags.list() if name.startswith((_TAG, _LATELY))}
    for name in there - wanted.keys():
        dataset.tags.delete(name)
    kept = {version["version"] for version in versions}
    for name, version in wanted.items():
        if name not in there and version in kept:
            dataset.tags.create(name, version)
    removed = dataset.cleanup_old_versions(older_than=keep, error_if_tagged_old_versions=False)
    return int(removed.bytes_removed)
