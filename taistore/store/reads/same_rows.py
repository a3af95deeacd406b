"""Since when a table has held the rows that it holds now: what compacts or indexes changes none."""

from typing import Any

from lance import LanceOperation

from taistore.store.store import Store
from taistore.store.tables.table_names import kind_and_encoder

_SAME_ROWS = (LanceOperation.Rewrite, LanceOperation.CreateIndex)


def same_rows_since(store: Store, table: str) -> int:
    """The first version of a table, by its whole name, from which on its rows stayed the same.

    Where Lance no longer keeps what made a version, nobody knows: the rows count as new with it.
    """
    dataset = store.dataset(*kind_and_encoder(table))
    version = int(dataset.version)
    while version > 1 and _keeps_rows(dataset, version):
        version -= 1
    return version


def _keeps_rows(dataset: Any, version: int) -> bool:
    try:
        made = dataset.read_transaction(version)
    except (OSError, ValueError, RuntimeError):
        return False
    if made is None:
        return False
    # Lance gives the plain base class for what only reserves numbers, as each compaction does.
    plain = type(made.operation) is LanceOperation.BaseOperation
    return plain or isinstance(made.operation, _SAME_ROWS)
