"""What a commit costs as its table grows, and what it cost as a merge.

``python -m benchmarks.commits`` appends 1,000 image vectors at a time to tables of 100,000,
1,000,000 and 4,000,000 rows with an index, by :meth:`Store.append` and by LanceDB's merge of the
key column without its index (the other way that keeps writers apart), in turn.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.random_encoder import ENCODER
from benchmarks.report import Table, write_report
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.maintenance import optimize
from taistore.store.store import Store

DIM = 64
ROWS = 1000
COMMITS = 15
SIZES = (100_000, 1_000_000, 4_000_000)


def rows(first: int, count: int, schema: pa.Schema) -> pa.Table:
    """Image vectors [count, DIM] under the ids of these numbers."""
    ids = [
        blake2b(number.to_bytes(8, "big"), digest_size=16).hexdigest()
        for number in range(first, first + count)
    ]
    vectors = vector_column(np.ones((count, DIM), np.float16))
    return pa.Table.from_arrays([pa.array(ids), vectors], schema=schema)


def filled(folder: Path, size: int) -> tuple[Store, str]:
    """A store with ``size`` image vectors and an index on their key."""
    labels = LabelSet([Label("cat", "cat")])
    store = Store.create(folder, labels, default_encoder="packaged")
    info = replace(ENCODER, dim=DIM)
    store.register_encoder(info)
    schema = store.schema("image_vectors", info.encoder_id)

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(0, size, 50_000):
            yield from rows(first, 50_000, schema).to_batches()

    store.overwrite("image_vectors", batches(), schema, encoder_id=info.encoder_id)
    optimize(store, keep_days=0)
    return store, info.encoder_id


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(size: int) -> tuple[float, float, float]:
    """Seconds of a commit by append and by unindexed merge, and of the first append."""
    folder = Path(tempfile.mkdtemp())
    try:
        store, encoder_id = filled(folder / "store", size)
        schema = store.schema("image_vectors", encoder_id)
        first = seconds(
            lambda: store.append("image_vectors", rows(size, ROWS, schema), encoder_id=encoder_id)
        )
        appends, merges = [], []
        for commit in range(1, COMMITS + 1):
            mine = rows(size + 2 * commit * ROWS, ROWS, schema)
            theirs = rows(size + (2 * commit + 1) * ROWS, ROWS, schema)
            append = partial(store.append, "image_vectors", mine, encoder_id=encoder_id)
            appends.append(seconds(append))
            dataset = store.dataset("image_vectors", encoder_id)
            merge = dataset.merge_insert("image_id").when_not_matched_insert_all().use_index(False)
            merges.append(seconds(partial(merge.execute, theirs)))
        return statistics.median(appends), statistics.median(merges), first
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measure every size and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    sizes = parser.parse_args().sizes
    found = {size: measure(size) for size in sizes}
    base = found[sizes[0]][0]
    table = Table(
        ("rows", "append, ms", "of the smallest", "unindexed merge, ms", "first append, ms"),
        [
            (f"{size:,}", append * 1e3, append / base, merge * 1e3, first * 1e3)
            for size, (append, merge, first) in found.items()
        ],
    )
    path = write_report(
        "commits",
        title="What a commit of 1,000 rows costs as its table grows",
        text=(
            "Median CPU time of a commit by `Store.append`, beside LanceDB's `merge_insert` "
            "without the key's index, in turn, and of a process's first append, which reads the "
            "keys."
        ),
        tables=[table],
    )
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
