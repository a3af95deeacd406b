"""How much memory does training take on a store that is larger than it?

``python -m benchmarks.train_memory --work DIR`` makes stores of 1,000,000 random text vectors of
1,024 dimensions with 80 and with 7,186 labels, trains on each in a process of its own, and reports
the peak of that process's resident memory, Python, torch and Lance included.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import lancedb
import numpy as np
import pyarrow as pa

from benchmarks.random_encoder import ENCODER
from benchmarks.report import Table, peak_bytes, write_report
from taistore.adapter.config import TrainConfig
from taistore.adapter.train import train
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.store import Store
from taistore.store.stream import BUFFER_ROWS

LIMIT_MIB = 1536
ROWS_PER_BATCH = 8192


class EnoughError(Exception):
    """Ends a training after the steps that were asked for."""


class _Counter:
    """A progress bar that ends the training at ``steps``."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def advance(self, amount: int = 1, **figures: float) -> None:
        self.left -= amount
        if self.left <= 0:
            raise EnoughError


def make_store(path: Path, *, rows: int, labels: int) -> Store:
    """A store of random vectors; each text has up to three labels."""
    store = Store.create(
        path, LabelSet(Label(f"l{i}", f"label {i}") for i in range(labels)), default_encoder="x"
    )
    name = store.table_name("text_vectors", ENCODER.encoder_id)
    if name in store.table_names():
        return store
    store.register_encoder(ENCODER)
    random = np.random.default_rng(0)
    sets = {tuple(sorted(set(random.integers(labels, size=3).tolist()))) for _ in range(20_000)}
    combinations = {store.labels.combination_id(ids): list(ids) for ids in sorted(sets)}
    store.append(
        "combinations",
        {"combination_id": list(combinations), "label_ids": list(combinations.values())},
    )
    ids = np.array(list(combinations))
    schema = store.schema("text_vectors", ENCODER.encoder_id)

    def batches() -> Iterator[pa.RecordBatch]:
        for low in range(0, rows, ROWS_PER_BATCH):
            count = min(ROWS_PER_BATCH, rows - low)
            vectors = random.standard_normal((count, ENCODER.dim), dtype=np.float32) / 3
            columns = [
                pa.array([f"{i:032x}" for i in range(low, low + count)]),
                pa.array(np.sort(ids[random.integers(len(ids), size=count)])),
                vector_column(vectors),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    # Merging a million rows in by key measures another thing and takes longer than the training.
    lancedb.connect(store.uri).create_table(
        name, pa.RecordBatchReader.from_batches(schema, batches()), schema=schema
    )
    return store


def train_here(path: Path, *, batch: int, steps: int) -> None:
    """Train for ``steps`` steps in this process and print what it took as JSON."""
    store = Store.open(path)
    size = (len(store.labels), ENCODER.dim)
    prompts_ND = np.random.default_rng(1).standard_normal(size, dtype=np.float32)
    prompts_ND /= np.linalg.norm(prompts_ND, axis=1, keepdims=True)
    began, cpu = time.monotonic(), time.process_time()
    with contextlib.suppress(EnoughError):
        train(
            store,
            ENCODER.encoder_id,
            TrainConfig(epochs=1, batch=batch, device="cpu"),
            prompts_ND=prompts_ND,
            progress=lambda description, *, total, unit: _Counter(steps),
        )
    taken = {
        "peak_mib": peak_bytes() / 2**20,
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
    }
    print(json.dumps(taken))


def main() -> None:
    """Make the stores, train on each, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder for the stores (2 GB each)")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        train_here(options.only, batch=options.batch, steps=options.steps)
        return
    if options.work is None:
        parser.error("--work is missing: name a folder for the stores")
    rows = []
    for labels, batch, steps in ((80, 1024, -(-options.rows // 1024)), (7186, 256, 300)):
        path = options.work / f"labels{labels}"
        make_store(path, rows=options.rows, labels=labels)
        child = [sys.executable, "-m", "benchmarks.train_memory", "--only", str(path)]
        child += ["--batch", str(batch), "--steps", str(steps)]
        ended = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
        taken = json.loads(ended.stdout)
        read = min(batch * steps + BUFFER_ROWS, options.rows)
        held = "yes" if taken["peak_mib"] < LIMIT_MIB else "NO"
        print(labels, taken, flush=True)
        rows.append(
            (labels, batch, steps, read, round(taken["peak_mib"]), held, taken["cpu_seconds"])
        )
    text = (
        f"{options.rows:,} text vectors of {ENCODER.dim} dimensions in the store, as float16 "
        f"{options.rows * ENCODER.dim * 2 / 2**30:.2f} GiB; default network, a shuffle buffer of "
        f"{BUFFER_ROWS:,} rows. Peak resident memory of the whole training process."
    )
    columns = ("labels", "batch", "steps", "rows read", "peak MiB", "under 1.5 GiB", "CPU seconds")
    print(
        write_report(
            "train-memory",
            title="Memory while training",
            tables=[Table(columns, rows)],
            text=text,
        )
    )


if __name__ == "__main__":
    main()
