"""The labels of a run: it keeps them for good, whatever becomes of those of its store."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taistore.adapter.run_files.file_names import CARD, write_whole
from taistore.adapter.run_files.plain_json import read_object
from taistore.adapter.run_files.run_folder import run_folder
from taistore.errors import StoreError, TrainingError
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

LABELS = "labels.parquet"
"""In a run's folder: its labels, in the order of its columns."""


@dataclass(frozen=True, slots=True)
class RunLabels:
    """Keys of a run's labels in the order of its columns.

    ``parts`` are the ids of the labels that showed as each when it began; None in runs from before
    labels could be merged.
    """

    keys: list[str]
    parts: list[list[int]] | None = None


def save_run_labels(folder: Path, store: Store) -> None:
    """Keep the labels that a store is read with, before the first step."""
    columns: dict[str, Any] = {
        "key": pa.array(store.labels.keys, pa.string()),
        "label_ids": pa.array(store.view.parts, pa.list_(pa.int32())),
    }
    write_whole(folder / LABELS, lambda part: pq.write_table(pa.table(columns), part))


def read_run_labels(folder: Path) -> RunLabels | None:
    """What is kept of them, None in a run from before; :class:`TrainingError` where damaged."""
    if not (folder / LABELS).is_file():
        return None
    try:
        kept: dict[str, Any] = pq.read_table(folder / LABELS).to_pydict()
        return RunLabels(kept["key"], kept["label_ids"])
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise TrainingError(f"{folder / LABELS}: cannot be read: train again") from error


def run_labels(store: Store, row: RunRow) -> RunLabels:
    """The labels of a run; raises :class:`TrainingError` where they cannot be read.

    A run from before they were kept, or whose file of them is damaged, has those of its card; one
    without a card those that its store was made with.
    """
    folder = run_folder(store, row.run_id)
    there = (folder / CARD).is_file()
    try:
        if (kept := read_run_labels(folder)) is not None:
            return kept
    except TrainingError:
        if not there:
            raise
    if not there:
        return RunLabels([kept.label.key for kept in store.stored_labels if not kept.addition])
    try:
        keys = read_object(folder / CARD).get("label_keys")
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise TrainingError(f"{folder / CARD}: not a readable card ({error!s:.300})") from error
    return RunLabels([str(key) for key in keys] if isinstance(keys, list) else store.labels.keys)


def seen_by_run(store: Store, row: RunRow) -> Store:
    """The store with the labels of a run.

    The store as it is where a file of the run, or a label of it, is gone: whoever opens the run
    says what is wrong.
    """
    try:
        kept = run_labels(store, row)
        return store.seen_with(kept.keys, parts=kept.parts)
    except (StoreError, TrainingError):
        return store
