"""Streaming: training fed from the store beside the same training fed from one tensor in memory.

B batch, D embedding dimension, M rows, P positives of a batch.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.random_encoder import ENCODER
from benchmarks.suite.rows import Row, at_least, at_most
from benchmarks.suite.turns import apart, costs
from benchmarks.train_memory import make_store
from taistore.adapter.adapter_job import TrainingJob
from taistore.adapter.config import TrainConfig
from taistore.adapter.freed_memory import keep_large_blocks_apart
from taistore.adapter.network import NetworkShape, build_network
from taistore.adapter.run_files.run_start import RunStart
from taistore.adapter.steps import CombinationSource, Source, Step, TrainingBatch
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.store.arrow import vector_array
from taistore.store.combination_rows import CombinationIndex
from taistore.store.store import Store
from taistore.store.stream import VectorStream

LABELS = 80
RADIUS = 25.0
BATCHES = (128, 1024)
ROUNDS = 3


def answer(work: Path, *, full: bool) -> Iterator[Row]:
    """Rates of training and of the stream alone, warm and (full) cold, and memory."""
    keep_large_blocks_apart()  # as every training does
    rows = 1_000_000 if full else 200_000
    store = make_store(work / f"rows-{rows}", rows=rows, labels=LABELS)
    index = store.combination_index()
    yield _memory(Path(store.uri), rows)
    yield from _alone(store, index, rows, work / f"rows-{rows}.f16")
    vectors_MD, ids_M = _all(store, rows)
    for batch in BATCHES:
        # Those that a training from memory would hold: no table, no block, an exact shuffle.
        memory = _Memory(vectors_MD, ids_M, index, batch=batch)
        streamed = _streamed(store, index, batch)
        yield from _trained(store, streamed, memory, f"batch {batch:,}, {rows:,} rows, warm", rows)
        if full:
            cold = partial(_out_of_the_cache, Path(store.uri))
            where = f"batch {batch:,}, {rows:,} rows, cold (POSIX_FADV_DONTNEED)"
            yield from _trained(store, streamed, memory, where, rows, before=cold)


class _Memory:
    """The rows in one float16 tensor [M, D], shuffled exactly; batches by index."""

    def __init__(
        self,
        vectors_MD: torch.Tensor,
        ids_M: NDArray[np.int64],
        index: CombinationIndex,
        *,
        batch: int,
    ) -> None:
        self._vectors_MD = vectors_MD
        self._index_M = torch.from_numpy(index.rows(ids_M))
        self._starts = torch.from_numpy(index.offsets)
        self._label_ids = torch.from_numpy(index.label_ids).long()
        self._batch = batch

    @property
    def batches_per_epoch(self) -> int:
        """Batches of every epoch."""
        return -(-len(self._vectors_MD) // self._batch)

    def texts(self) -> Iterator[TrainingBatch]:
        """Batches of the first epoch."""
        return (batch for (batch,) in self.batches(epoch=0, start=0))

    def batches(self, *, epoch: int, start: int) -> Iterator[Step]:
        """Batches of an epoch from ``start`` on."""
        generator = torch.Generator().manual_seed(epoch)
        order_M = torch.randperm(len(self._vectors_MD), generator=generator)
        for low in range(start * self._batch, len(order_M), self._batch):
            rows_B = order_M[low : low + self._batch]
            vectors_BD = self._vectors_MD.index_select(0, rows_B).float()
            yield (TrainingBatch(vectors_BD, self._positives(rows_B), RADIUS, "surface"),)

    def _positives(self, rows_B: torch.Tensor) -> torch.Tensor:
        index_B = self._index_M[rows_B]
        starts_B = self._starts[index_B]
        counts_B = self._starts[index_B + 1] - starts_B
        rows_P = torch.repeat_interleave(counts_B)
        before_B = counts_B.cumsum(0) - counts_B
        places_P = torch.arange(len(rows_P)) + (starts_B - before_B)[rows_P]
        return rows_P * LABELS + self._label_ids[places_P]


def _streamed(store: Store, index: CombinationIndex, batch: int) -> Source:
    return CombinationSource(_stream(store, index, batch), labels=LABELS, radius=RADIUS)


def _stream(store: Store, index: CombinationIndex, batch: int) -> VectorStream:
    return VectorStream(
        store, ENCODER.encoder_id, batch_rows=batch, seed=0, positives=index.positives
    )


def _job(store: Store, source: Source) -> TrainingJob:
    shape = NetworkShape(network="residual", dim=ENCODER.dim, labels=LABELS, hidden=0, dropout=0.5)
    start = RunStart(
        encoder_id=ENCODER.encoder_id,
        config=TrainConfig(epochs=100, device="cpu").settled_for(LABELS),
        shape=shape,
        mean_text_norm=10.0,
        radius=RADIUS,
        mean_image_norm=None,
        image_radius=None,
        known={},
        shift={},
        table_versions={},
        created="",
    )
    return TrainingJob(
        store=store,
        run_id="benchmark",
        folder=Path(),
        checkpoint="",
        start=start,
        network=build_network(shape, seed=0).train(),
        source=source,
        checkpoint_seconds=float("inf"),
    )


def _epoch(job: TrainingJob, source: Source) -> None:
    for step, batch in enumerate(source.batches(epoch=0, start=0)):
        job.seed(step)
        job.optimizer.zero_grad()
        job.learn(step, batch, value=False)
        job.move(step)


def _trained(
    store: Store,
    streamed: Source,
    memory: Source,
    where: str,
    rows: int,
    *,
    before: Callable[[], None] | None = None,
) -> Iterator[Row]:
    """Rows of processor and of wall time of whole epochs in turn."""
    ours, other = _job(store, streamed), _job(store, memory)
    pieces: dict[str, Callable[[], object]] = {
        "store": lambda: _epoch(ours, streamed),
        "memory": lambda: _epoch(other, memory),
    }
    if before is not None:
        pieces = {"cold": before, **pieces}
    found = costs(pieces, rounds=ROUNDS, warm=before is None)
    for clock, unit in (("cpu", "CPU second"), ("wall", "second of the clock")):
        mine, theirs = (rows / getattr(found[name], clock) for name in ("store", "memory"))
        yield at_least(
            f"streaming: rows a {unit} of training, {where}, {ENCODER.dim} dimensions, {LABELS} "
            "labels, from the store; other: from one float16 tensor in memory",
            ours=mine,
            other=theirs,
            ratio=mine / theirs,
            target=0.97,
        )


def _alone(store: Store, index: CombinationIndex, rows: int, path: Path) -> Iterator[Row]:
    """The stream without a training, beside a memory-mapped file of the same rows, shuffled."""
    vectors_MD, ids_M = _mapped(store, rows, path)

    def mapped(batch: int) -> None:
        order_M = np.random.default_rng(0).permutation(rows)
        for low in range(0, rows, batch):
            rows_B = order_M[low : low + batch]
            vectors_MD[rows_B]
            index.positives(ids_M[rows_B])

    for batch in BATCHES:
        stream = _stream(store, index, batch)
        found = costs(
            {
                "store": partial(_read, stream),
                "mapped": partial(mapped, batch),
            },
            rounds=ROUNDS,
        )
        ours, other = (rows / found[name].cpu for name in ("store", "mapped"))
        yield at_least(
            f"streaming: rows a CPU second, read alone, batch {batch:,}, {rows:,} rows, "
            "warm, with their labels; other: a memory-mapped float16 array in random order",
            ours=ours,
            other=other,
            ratio=ours / other,
            target=0.5,
        )


def _read(stream: VectorStream) -> None:
    for _ in stream.batches(epoch=0):
        pass


def _memory(path: Path, rows: int) -> Row:
    peak, rest = apart(_peak, path)
    taken = (peak - rest) / 1e6
    return at_most(
        f"streaming: MB that the most of an epoch of training takes ({rows:,} rows, batch 1,024) "
        "over the same training's steps on a block of memory, Lance open; other: MB of that",
        ours=peak / 1e6,
        other=rest / 1e6,
        ratio=taken,
        target=200,
    )


def _peak(path: Path) -> tuple[int, int]:
    """Most memory in bytes of an epoch, and of what is there without: model, torch, Lance."""
    keep_large_blocks_apart()
    torch.set_num_threads(1)
    store = Store.open(path)
    index = store.combination_index()
    ids_M = index.combination_ids[np.zeros(4096, np.int64)]
    source = _Memory(torch.zeros(4096, ENCODER.dim).half(), ids_M, index, batch=1024)
    job = _job(store, source)
    _epoch(job, source)
    store.dataset("text_vectors", ENCODER.encoder_id).head(1)
    rest = peak_bytes()
    _epoch(job, _streamed(store, index, 1024))
    return peak_bytes(), rest


def _all(store: Store, rows: int) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Vectors [M, D] float16 and combination ids [M] of the whole table."""
    vectors_MD = torch.empty(rows, ENCODER.dim, dtype=torch.float16)
    return vectors_MD, _copied(store, vectors_MD.numpy())


def _mapped(store: Store, rows: int, path: Path) -> tuple[NDArray[np.float16], NDArray[np.int64]]:
    """The same with the vectors in a memory-mapped file."""
    vectors_MD = np.memmap(path, np.float16, "w+", shape=(rows, ENCODER.dim))
    ids_M = _copied(store, vectors_MD)
    vectors_MD.flush()
    return np.memmap(path, np.float16, "r", shape=(rows, ENCODER.dim)), ids_M


def _copied(store: Store, vectors_MD: NDArray[np.float16]) -> NDArray[np.int64]:
    ids: list[NDArray[np.int64]] = []
    low = 0
    columns = ["combination_id", "vector"]
    for batch in store.scan("text_vectors", columns=columns, encoder_id=ENCODER.encoder_id):
        vectors_MD[low : low + batch.num_rows] = vector_array(batch.column(1))
        ids.append(batch.column(0).to_numpy())
        low += batch.num_rows
    return np.concatenate(ids)


def _out_of_the_cache(store: Path) -> None:
    """Have the system forget the pages of the store's files."""
    for path in store.rglob("*.lance"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    time.sleep(0.1)
