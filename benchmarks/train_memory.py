"""How much memory does training take on a store that is larger than it?

``python -m benchmarks.train_memory --work DIR`` makes stores of 1,000,000 random text vectors of
1,024 dimensions with 80 and with 7,186 labels, trains on each in a process of its own, and reports
the peak of that process's resident memory, Python, torch and Lance included.
``python -m benchmarks.train_memory --work DIR --combinations 50000 200000 1000000`` does so for the
task ``pll`` at 7,186 labels, with 1,000,000 images, and that many combinations of one text each.
``--paper 50000`` measures the paper's network and settings there as well.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import lancedb
import numpy as np
import pyarrow as pa

from benchmarks.centroids import LABELS, write_images
from benchmarks.random_encoder import ENCODER
from benchmarks.report import Table, write_report
from taistore.adapter.config import Task, TrainConfig
from taistore.adapter.network import NETWORKS, Network
from taistore.adapter.train import train
from taistore.labels import Label, LabelSet
from taistore.progress import Progress, ProgressBar, no_progress
from taistore.reproduction.without_data.peak_memory import peak_bytes
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


def _until(steps: int, began: float) -> Progress:
    """Shows nothing, says how long it was until the first step, and ends at ``steps``."""

    def progress(description: str, *, total: int | None, unit: str) -> ProgressBar:
        if description != "train":
            return no_progress(description, total=total, unit=unit)
        print(f"{time.monotonic() - began:.0f} s until the first step", file=sys.stderr)
        return _Counter(steps)

    return progress


def make_store(path: Path, *, rows: int, labels: int, combinations: int = 20_000) -> Store:
    """A store of random vectors; each text has up to three labels, each combination a text."""
    store = Store.create(
        path, LabelSet(Label(f"l{i}", f"label {i}") for i in range(labels)), default_encoder="x"
    )
    name = store.table_name("text_vectors", ENCODER.encoder_id)
    if name in store.table_names():
        return store
    store.register_encoder(ENCODER)
    random = np.random.default_rng(0)
    sets = {
        tuple(sorted(set(random.integers(labels, size=3).tolist()))) for _ in range(combinations)
    }
    of_labels = {store.labels.combination_id(ids): list(ids) for ids in sorted(sets)}
    store.append(
        "combinations",
        {"combination_id": list(of_labels), "label_ids": list(of_labels.values())},
    )
    ids = random.permutation(np.array(list(of_labels)))
    schema = store.schema("text_vectors", ENCODER.encoder_id)

    def batches() -> Iterator[pa.RecordBatch]:
        for low in range(0, rows, ROWS_PER_BATCH):
            count = min(ROWS_PER_BATCH, rows - low)
            vectors = random.standard_normal((count, ENCODER.dim), dtype=np.float32) / 3
            columns = [
                pa.array([f"{i:032x}" for i in range(low, low + count)]),
                pa.array(ids[np.arange(low, low + count) * len(ids) // rows]),
                vector_column(vectors),
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    # Merging a million rows in by key measures another thing and takes longer than the training.
    lancedb.connect(store.uri).create_table(
        name, pa.RecordBatchReader.from_batches(schema, batches()), schema=schema
    )
    return store


def make_labelled(path: Path, *, texts: int, images: int) -> Store:
    """``texts`` combinations of :data:`LABELS` labels with a text each, and ``images`` images."""
    store = make_store(path, rows=texts, labels=LABELS, combinations=texts)
    if not store.count("image_vectors", ENCODER.encoder_id):
        write_images(store, rows=images)
    return store


def train_here(path: Path, *, task: Task, network: Network, batch: int, steps: int) -> None:
    """Train for ``steps`` steps in this process and print what it took as JSON."""
    store = Store.open(path)
    size = (len(store.labels), ENCODER.dim)
    prompts_ND = np.random.default_rng(1).standard_normal(size, dtype=np.float32)
    prompts_ND /= np.linalg.norm(prompts_ND, axis=1, keepdims=True)
    config = TrainConfig.of(task=task, network=network, epochs=1, batch=batch, device="cpu")
    began, cpu = time.monotonic(), time.process_time()
    with contextlib.suppress(EnoughError):
        train(
            store,
            ENCODER.encoder_id,
            config,
            prompts_ND=prompts_ND,
            progress=_until(steps, began),
        )
    taken = {
        "peak_mib": peak_bytes() / 2**20,
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
    }
    print(json.dumps(taken))


def _in_a_process(
    path: Path, *, task: Task, batch: int, steps: int, network: Network = "residual"
) -> dict[str, float]:
    child = [sys.executable, "-m", "benchmarks.train_memory", "--only", str(path)]
    child += ["--task", task, "--network", network]
    child += ["--batch", str(batch), "--steps", str(steps)]
    ended = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
    taken: dict[str, float] = json.loads(ended.stdout)
    return taken


def labelled(
    work: Path, asked: list[tuple[Network, int]], images: int, *, at_once: int = 1
) -> Path:
    """Train ``pll`` on each network and number of combinations; write the report.

    Returns its path.
    """
    steps = 100

    def measured(network: Network, count: int) -> tuple[object, ...]:
        path = work / f"pll-{count}-{images}"
        taken = _in_a_process(path, task="pll", network=network, batch=128, steps=steps)
        print(network, count, taken, flush=True)
        held = "yes" if taken["peak_mib"] < LIMIT_MIB else "NO"
        figures = (round(taken[name]) for name in ("peak_mib", "seconds", "cpu_seconds"))
        peak, seconds, cpu_seconds = figures
        return network, f"{count:,}", peak, held, seconds, cpu_seconds

    for count in {count for _, count in asked}:
        make_labelled(work / f"pll-{count}-{images}", texts=count, images=images)
    with ThreadPoolExecutor(at_once) as pool:
        rows = list(pool.map(measured, *zip(*asked, strict=True)))
    text = (
        f"Task pll, {LABELS:,} labels, {images:,} images with three known labels each, "
        f"combinations of one text each, all of {ENCODER.dim} dimensions: centroids, neighbours of "
        f"all images and {steps} steps of 128 texts and 64 images. `paper` is the paper's network "
        "and setting: three layers of 2,048, the plain shift, no neighbours, texts alone. Peak "
        "resident memory of the whole process; the means of many combinations lie in a temporary "
        f"file. {at_once} of these at once."
    )
    columns = ("network", "combinations", "peak MiB", "under 1.5 GiB", "seconds", "CPU seconds")
    title = "Memory of partial labels while training"
    return write_report("train-memory-pll", title=title, tables=[Table(columns, rows)], text=text)


def main() -> None:
    """Make the stores, train on each, write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="folder for the stores (2 GB each)")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--task", choices=("zsl", "pll"), default="zsl", help=argparse.SUPPRESS)
    parser.add_argument("--network", choices=NETWORKS, default="residual", help=argparse.SUPPRESS)
    parser.add_argument("--combinations", type=int, nargs="*", default=[], help="measure pll")
    parser.add_argument("--paper", type=int, nargs="*", default=[], help="with --combinations")
    parser.add_argument("--images", type=int, default=1_000_000, help="with --combinations")
    parser.add_argument("--at-once", type=int, default=1, help="processes; times are then longer")
    options = parser.parse_args()
    if options.only:
        train_here(
            options.only,
            task=options.task,
            network=options.network,
            batch=options.batch,
            steps=options.steps,
        )
        return
    if options.work is None:
        parser.error("--work is missing: name a folder for the stores")
    if options.combinations:
        asked: list[tuple[Network, int]] = [("residual", n) for n in options.combinations]
        asked += [("paper", n) for n in options.paper]
        print(labelled(options.work, asked, options.images, at_once=options.at_once))
        return
    rows = []
    for labels, batch, steps in ((80, 1024, -(-options.rows // 1024)), (7186, 256, 300)):
        path = options.work / f"labels{labels}"
        make_store(path, rows=options.rows, labels=labels)
        taken = _in_a_process(path, task="zsl", batch=batch, steps=steps)
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
