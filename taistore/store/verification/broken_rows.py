"""Rows that break a contract on their own: wrong columns, labels that do not exist, wrong ids."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from taistore.contracts import STORE_VERSION, TABLES, VERSION_KEY
from taistore.labels import LabelSet
from taistore.store.arrow import READ_AHEAD_BYTES
from taistore.store.store import Store
from taistore.store.tables.table_names import kind_and_encoder
from taistore.store.verification.finding import Code, Finding

_LABEL_COLUMNS = {"combinations": ("label_ids",), "images": ("positives", "negatives")}


def contract_findings(store: Store, dataset: Any, table: str) -> list[Finding]:
    """What a table's schema has otherwise than its contract; nothing further fits such a table."""
    kind, encoder_id = kind_and_encoder(table)
    if kind not in TABLES:
        what = "taistore knows no table of this name"
        remedy = "move it out of the store's folder"
        return [_finding("unknown-table", table, what, remedy, warning=True)]
    if TABLES[kind].per_encoder != bool(encoder_id):
        what = "its name does not say of which encoder it is, or says it without need"
        return [_finding("unknown-table", table, what, "move it out of the store's folder")]
    if encoder_id in {info.encoder_id for info in store.encoder_rows()} - _encoder_ids(store):
        what = f"is of encoder {encoder_id}, whose removal was stopped half way"
        remedy = f"'taistore encoders rm {encoder_id}' brings it to its end"
        return [_finding("unknown-encoder", table, what, remedy)]
    if encoder_id and encoder_id not in _encoder_ids(store):
        what = f"is of encoder {encoder_id}, which the store does not list"
        remedy = "run the job that made it again, which lists its encoder, or delete the folder"
        return [_finding("unknown-encoder", table, what, remedy)]
    wanted, there = store.schema(kind, encoder_id), dataset.schema
    wrong = [
        f"column {name!r} is {_told(there, name)}, not {_told(wanted, name)}"
        for name in dict.fromkeys([*wanted.names, *there.names])
        if _told(there, name) != _told(wanted, name)
    ]
    version = int((there.metadata or {}).get(VERSION_KEY, b"0"))
    if version != STORE_VERSION:
        wrong.append(f"it says version {version}, not {STORE_VERSION}")
    remedy = "go back to an older version of the table, or build it anew"
    return [_finding("broken-contract", table, what, remedy) for what in wrong]


def _encoder_ids(store: Store) -> set[str]:
    return {info.encoder_id for info in store.encoders()}


def _told(schema: pa.Schema, name: str) -> str:
    if name not in schema.names:
        return "absent"
    field = schema.field(name)
    return f"{field.type}, which may be null" if field.nullable else str(field.type)


def _finding(code: Code, table: str, what: str, remedy: str, *, warning: bool = False) -> Finding:
    severity: Any = "warning" if warning else "error"
    return Finding(code=code, table=table, what=what, remedy=remedy, severity=severity)


def label_findings(store: Store, dataset: Any, table: str) -> Iterator[Finding]:
    """Rows with a label id that the store has no label of, or with an id not made of its labels."""
    if table == "labels":
        ids = dataset.to_table(columns=["label_id"]).column(0).to_pylist()
        if sorted(set(ids)) != list(range(len(set(ids)))):
            what = f"its ids are not 0 to {len(set(ids)) - 1}"
            yield _finding("unknown-label", table, what, "put the folder back from a backup")
    columns = _LABEL_COLUMNS.get(table, ())
    if not columns:
        return
    labels = store.by_id().labels
    key = TABLES[table].key[0]
    unknown, wrong = _Examples(), _Examples()
    scanner = dataset.scanner(columns=[key, *columns], io_buffer_size=READ_AHEAD_BYTES)
    for batch in scanner.to_batches():
        keys = batch.column(key)
        beyond = np.zeros(batch.num_rows, dtype=bool)
        for name in columns:
            beyond |= _beyond(batch.column(name), len(labels))
        unknown.add(keys, beyond)
        if table == "combinations":
            lists = batch.column("label_ids").to_pylist()
            wrong.add(keys, _other_id(labels, keys.to_pylist(), lists, beyond))
    if unknown.count:
        what = f"{unknown} have label ids outside of 0 to {len(labels) - 1}"
        remedy = "go back to an older version of the table, or run the jobs that wrote it again"
        yield _finding("unknown-label", table, what, remedy)
    if wrong.count:
        what = f"{wrong} have an id that is not the hash of their labels"
        yield _finding("wrong-id", table, what, "put the folder back from a backup")


class _Examples:
    """Rows counted, and the key of the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self._first: object = None

    def add(self, keys: Any, which: Any) -> None:
        if which.any():
            if not self.count:
                self._first = keys[int(np.argmax(which))].as_py()
            self.count += int(which.sum())

    def __str__(self) -> str:
        return f"{self.count:,} rows (such as {self._first})"


def _beyond(lists: Any, labels: int) -> Any:
    """For each list whether it holds an id outside of the label set."""
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    rows = lists.value_parent_indices().to_numpy(zero_copy_only=False)
    found = np.zeros(len(lists), dtype=bool)
    found[rows[(flat < 0) | (flat >= labels)]] = True
    return found


def _other_id(labels: LabelSet, ids: list[int], lists: list[list[int]], beyond: Any) -> Any:
    return np.array(
        [
            not skip and labels.combination_id(label_ids) != found
            for found, label_ids, skip in zip(ids, lists, beyond.tolist(), strict=True)
        ],
        dtype=bool,
    )
