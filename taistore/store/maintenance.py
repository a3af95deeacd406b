"""Compaction and indexes: what keeps a store fast after many appends, in bounded memory."""

from dataclasses import dataclass
from datetime import timedelta

from taistore.contracts import TABLES
from taistore.progress import Progress, no_progress
from taistore.store.lance_errors import writing
from taistore.store.store import Store

MIN_INDEXED_ROWS = 10_000
"""Below this many rows a scan of the key column is as cheap as an index."""

DUE_FRAGMENTS = 48
"""A table with more fragments than this reads noticeably slower; large jobs then tidy up."""

_COMPACTION_ROWS = 1024


@dataclass(frozen=True, slots=True)
class TableReport:
    """What ``optimize`` did to one table."""

    table: str
    rows: int
    fragments_before: int
    fragments_after: int
    indexed: tuple[str, ...]
    bytes_removed: int


def optimize(
    store: Store,
    *,
    keep_days: float = 7.0,
    only_due: bool = False,
    progress: Progress = no_progress,
) -> list[TableReport]:
    """Merge small fragments, refresh indexes, drop versions older than ``keep_days``.

    ``only_due`` leaves tables alone that have at most :data:`DUE_FRAGMENTS` fragments.

    Safe beside readers and writers: they keep the version that they opened. Versions that an
    unfinished run reads are kept, so that it can be resumed. Raises :class:`StoreError` where
    another job was writing to the same table.
    """
    names = [name for name in store.table_names() if not only_due or _due(store, name)]
    reports: list[TableReport] = []
    if not names:
        return reports
    pinned = _pinned(store)
    with progress("optimize", total=len(names), unit="table") as bar:
        for name in names:
            kind, _, encoder_id = name.partition("__")
            if kind in TABLES:
                age = None if name in pinned else timedelta(days=keep_days)
                with writing(store.uri, name):
                    reports.append(_optimize_table(store, kind, encoder_id or None, age))
            bar.advance()
    return reports


def _due(store: Store, name: str) -> bool:
    kind, _, encoder_id = name.partition("__")
    if kind not in TABLES:
        return False
    return len(store.dataset(kind, encoder_id or None).get_fragments()) > DUE_FRAGMENTS


def _pinned(store: Store) -> set[str]:
    """Tables of which an unfinished run reads a certain version."""
    unfinished = [run for run in store.runs() if run.status != "finished"]
    return {table for run in unfinished for table in run.table_versions}


def _optimize_table(
    store: Store, kind: str, encoder_id: str | None, keep: timedelta | None
) -> TableReport:
    dataset = store.dataset(kind, encoder_id)
    before = len(dataset.get_fragments())
    if before > 1:
        dataset.optimize.compact_files(num_threads=1, batch_size=_COMPACTION_ROWS)
    indexed = []
    if dataset.count_rows() >= MIN_INDEXED_ROWS:
        present = {tuple(index.field_names) for index in dataset.describe_indices()}
        for column in TABLES[kind].indexed:
            if (column,) not in present:
                dataset.create_scalar_index(column, "BTREE")
            indexed.append(column)
        dataset.optimize.optimize_indices()
    removed = dataset.cleanup_old_versions(older_than=keep) if keep is not None else None
    return TableReport(
        table=store.table_name(kind, encoder_id),
        rows=dataset.count_rows(),
        fragments_before=before,
        fragments_after=len(dataset.get_fragments()),
        indexed=tuple(indexed),
        bytes_removed=int(removed.bytes_removed) if removed is not None else 0,
    )
