"""The labels of a run: it keeps them for good, whatever becomes of those of its store."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from taistore.adapter.run_files.file_names import CARD, write_whole
from taistore.adapter.run_files.plain_json import read_object
from taistore.adapter.run_files.run_folder import run_folder
from taistore.errors import StoreError, TrainingError
from taistore.store.run_rows import RunRow
from taistore.store.store import Store

LABELS = "labels.parquet"
"""In a run's folder: the keys of its labels, in the order of its columns."""


def save_run_labels(folder: Path, keys: Sequence[str]) -> None:
    """Write them before the first step."""
    table = pa.table({"key": pa.array(keys, pa.string())})
    write_whole(folder / LABELS, lambda part: pq.write_table(table, part))


def run_label_keys(store: Store, row: RunRow) -> list[str]:
    """The keys of a run's labels; raises :class:`TrainingError` where they cannot be read.

    A run from before they were kept has those of its card, else those that its store was made with.
    """
    folder = run_folder(store, row.run_id)
    if (folder / LABELS).is_file():
        try:
            return [str(key) for key in pq.read_table(folder / LABELS).column("key").to_pylist()]
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise TrainingError(f"{folder / LABELS}: cannot be read: train again") from error
    if not (folder / CARD).is_file():
        return [kept.label.key for kept in store.stored_labels if not kept.addition]
    try:
        keys = read_object(folder / CARD).get("label_keys")
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise TrainingError(f"{folder / CARD}: not a readable card ({error!s:.300})") from error
    return [str(key) for key in keys] if isinstance(keys, list) else store.labels.keys


def seen_by_run(store: Store, row: RunRow) -> Store:
    """The store with the labels of a run.

    The store as it is where a file of the run, or a label of it, is gone: whoever opens the run
    says what is wrong.
    """
    try:
        return store.seen_with(run_label_keys(store, row))
    except (StoreError, TrainingError):
        return store
