"""The stream over real Lance tables: every row once, the same order for a seed, bounded memory."""

import os
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.store.arrow import vector_array
from taistore.store.reads.shuffle_buffer import ShuffleBuffer
from taistore.store.store import Store
from taistore.store.stream import VectorBatch, VectorStream, finite
from tests.adapter.stores import ENCODER_ID, text_store

ROWS = 1000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    # Row r holds the vector (r, 0, 0, 0): float16 tells the integers below 2,048 apart.
    vectors_MD = np.zeros((ROWS, 4))
    vectors_MD[:, 0] = np.arange(ROWS)
    path = tmp_path_factory.mktemp("stream") / "store"
    return text_store(path, rows=ROWS, dim=4, vectors_MD=vectors_MD)


def stream(store: Store, *, buffer: int = 128, batch: int = 32, seed: int = 0) -> VectorStream:
    return VectorStream(
        store, ENCODER_ID, batch_rows=batch, seed=seed, block_rows=16, buffer_rows=buffer
    )


def numbers(batches: list[VectorBatch]) -> NDArray[np.float16]:
    return np.concatenate([batch.vectors[:, 0] for batch in batches])


@pytest.mark.parametrize("buffer", [128, 4096])
def test_an_epoch_holds_every_row_once(store: Store, buffer: int) -> None:
    source = stream(store, buffer=buffer)
    batches = list(source.batches(epoch=0))
    assert source.rows == ROWS
    assert len(batches) == source.batches_per_epoch == 32
    assert [len(batch.vectors) for batch in batches] == [32] * 31 + [8]
    assert np.array_equal(np.sort(numbers(batches)), np.arange(ROWS))


@pytest.mark.parametrize("buffer", [128, 4096])
def test_positives_belong_to_their_row(store: Store, buffer: int) -> None:
    combination = np.zeros(ROWS, dtype=np.int64)
    for part in store.scan("text_vectors", encoder_id=ENCODER_ID):
        rows = vector_array(part.column("vector"))[:, 0].astype(int)
        combination[rows] = part.column("combination_id").to_numpy()
    index = store.combination_index()
    for batch in stream(store, buffer=buffer).batches(epoch=0):
        counts_B, label_ids_P = index.positives(combination[batch.vectors[:, 0].astype(int)])
        assert np.array_equal(batch.counts, counts_B)
        assert np.array_equal(batch.label_ids, label_ids_P)


@pytest.mark.parametrize("buffer", [128, 4096])
def test_the_order_is_the_seeds_and_the_epochs(store: Store, buffer: int) -> None:
    first = numbers(list(stream(store, buffer=buffer).batches(epoch=0)))
    assert np.array_equal(first, numbers(list(stream(store, buffer=buffer).batches(epoch=0))))
    other_epoch = numbers(list(stream(store, buffer=buffer).batches(epoch=1)))
    other_seed = numbers(list(stream(store, buffer=buffer, seed=1).batches(epoch=0)))
    assert not np.array_equal(first, other_epoch)
    assert not np.array_equal(first, other_seed)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    start=st.integers(0, 40),
    batch=st.sampled_from([1, 7, 32, 200]),
    buffer=st.sampled_from([16, 100, 333, 4096]),
)
def test_any_batch_can_be_the_first(store: Store, start: int, batch: int, buffer: int) -> None:
    whole = list(stream(store, batch=batch, buffer=buffer).batches(epoch=2))
    rest = list(stream(store, batch=batch, buffer=buffer).batches(epoch=2, start=start))
    assert len(rest) == max(len(whole) - start, 0)
    for one, other in zip(whole[start:], rest, strict=True):
        assert np.array_equal(one.vectors, other.vectors)
        assert np.array_equal(one.counts, other.counts)
        assert np.array_equal(one.label_ids, other.label_ids)


def test_the_buffer_mixes_distant_blocks(store: Store) -> None:
    batches = list(stream(store, buffer=512, batch=32).batches(epoch=0))
    blocks = [len(np.unique(batch.vectors[:, 0] // 16)) for batch in batches[:20]]
    assert min(blocks) > 12


def test_neighbours_of_the_table_come_far_apart(store: Store) -> None:
    """As from a buffer of 512 rows that is always full.

    An exact shuffle of 1,000 rows has 32 in 1,000 of these pairs in a batch, and a third of the
    rows between them on average; a buffer of 256 rows 66 and a fifth.
    """
    apart, together = [], []
    for seed in range(8):
        order = numbers(list(stream(store, buffer=512, seed=seed).batches(epoch=0)))
        places = np.argsort(order)
        apart.append(np.abs(np.diff(places)))
        together.append(np.diff(places // 32) == 0)
    assert np.mean(apart) > 0.27 * ROWS
    assert np.mean(together) < 1.5 * 32 / ROWS


@pytest.mark.parametrize("batch", [5, 32, 48])
def test_what_is_ahead_does_not_change_the_order(
    store: Store, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = numbers(list(stream(store, batch=batch).batches(epoch=0)))
    monkeypatch.setattr("taistore.store.stream.prefetched", lambda items, depth: items)
    assert np.array_equal(numbers(list(stream(store, batch=batch).batches(epoch=0))), ahead)


def numbered(block: int, low: int) -> tuple[NDArray[np.int64]]:
    return (np.arange(low, min(low + block, 1001)),)


def test_a_buffer_that_is_filled_and_drawn_holds_every_row_once() -> None:
    """Blocks that are smaller or larger than what is drawn, so that gaps stay or rows are added."""
    for block, count in ((16, 5), (16, 16), (7, 48), (50, 64)):
        buffer = ShuffleBuffer(100, block)
        blocks = iter(range(0, 1001, block))
        random = np.random.default_rng(0)
        drawn: list[NDArray[np.int64]] = []
        buffer.fill(blocks, partial(numbered, block))
        while buffer.rows:
            drawn.append(buffer.draw(count, random)[0])
            buffer.fill(blocks, partial(numbered, block))
        assert [len(rows) for rows in drawn[:-1]] == [count] * (len(drawn) - 1)
        assert np.array_equal(np.sort(np.concatenate(drawn)), np.arange(1001))


@pytest.mark.parametrize("value", [0x7C00, 0xFC00, 0x7C01, 0xFE00, 0xFFFF])
def test_every_value_that_is_not_finite_is_seen(value: int) -> None:
    bits = np.array([[0x7BFF, 0xFBFF], [0x8000, 0]], np.uint16)
    assert finite(bits.view(np.float16))
    bits[1, 0] = value
    assert not finite(bits.view(np.float16))


def test_a_pinned_version_ignores_later_rows(tmp_path: Path) -> None:
    store = text_store(tmp_path / "store", rows=40)
    before = VectorStream(store, ENCODER_ID, batch_rows=8, seed=0)
    rows = next(iter(store.scan("text_vectors", encoder_id=ENCODER_ID))).to_pylist()[:1]
    rows[0]["text_id"] = "f" * 32
    store.append("text_vectors", rows, encoder_id=ENCODER_ID)
    pinned = VectorStream(store, ENCODER_ID, batch_rows=8, seed=0, version=before.version)
    assert (before.rows, pinned.rows) == (40, 40)
    assert VectorStream(store, ENCODER_ID, batch_rows=8, seed=0).rows == 41


def test_an_abandoned_epoch_leaves_no_thread(store: Store) -> None:
    batches = stream(store).batches(epoch=0)
    next(iter(batches))
    batches.close()  # type: ignore[attr-defined]  # a generator, typed as an iterator
    assert not [t for t in threading.enumerate() if t.name == "taistore-stream"]


def test_summary(tmp_path: Path) -> None:
    store = text_store(tmp_path / "store", rows=300)
    parts = [
        vector_array(b.column("vector")) for b in store.scan("text_vectors", encoder_id=ENCODER_ID)
    ]
    vectors_MD = np.concatenate(parts).astype(np.float64)
    unit_MD = vectors_MD / np.linalg.norm(vectors_MD, axis=1, keepdims=True)
    whole = stream(store, buffer=4096).summary()
    assert whole.mean_norm == pytest.approx(10, rel=1e-3)
    np.testing.assert_allclose(whole.mean_unit, unit_MD.mean(0), atol=1e-6)
    # A larger table is judged by a sample of its blocks.
    assert stream(store, buffer=64).summary().mean_norm == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize("buffer", [64, 4096])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_named(tmp_path: Path, buffer: int, value: float) -> None:
    vectors_MD = np.ones((300, 16))
    vectors_MD[123, 5] = value
    store = text_store(tmp_path / "store", rows=300, vectors_MD=vectors_MD)
    with pytest.raises(StoreError, match=f"text_vectors__{ENCODER_ID}.*not finite"):
        list(stream(store, buffer=buffer).batches(epoch=0))


@pytest.mark.parametrize("buffer", [64, 4096])
def test_an_unknown_combination_is_an_error(tmp_path: Path, buffer: int) -> None:
    store = text_store(tmp_path / "store", rows=300)
    rows = next(iter(store.scan("text_vectors", encoder_id=ENCODER_ID))).to_pylist()[:1]
    rows[0].update(text_id="f" * 32, combination_id=5)
    store.append("text_vectors", rows, encoder_id=ENCODER_ID)
    with pytest.raises(StoreError, match="combination_id is not in the table 'combinations'"):
        list(stream(store, buffer=buffer).batches(epoch=0))


def test_no_table_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="no table 'image_vectors__random_16'"):
        VectorStream(store, ENCODER_ID, batch_rows=8, seed=0, kind="image_vectors")


JOB = """
import sys
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.store.store import Store
from taistore.store.stream import VectorStream

store = Store.open(sys.argv[1])

def read(buffer_rows, start):
    stream = VectorStream(store, "random_16", batch_rows=64, seed=0, buffer_rows=buffer_rows)
    next(iter(stream.batches(epoch=0, start=start)))

read(2048, 0)  # what Lance takes for itself
before = peak_bytes()
read(int(sys.argv[2]), int(sys.argv[3]))
print((peak_bytes() - before) / 2**20)
"""


@pytest.mark.parametrize(
    ("buffer", "start"), [(40_000, 0), (36_000, 40)], ids=["a table in the buffer", "resumed"]
)
def test_vectors_lie_in_memory_once(tmp_path: Path, buffer: int, start: int) -> None:
    """The buffer is 78 or 70 MiB; joined or put in order from parts it took two to three times."""
    vectors_MD = np.ones((40_000, 1024), dtype=np.float16)
    store = text_store(tmp_path / "s", rows=40_000, dim=1024, vectors_MD=vectors_MD)
    done = subprocess.run(
        [sys.executable, "-c", JOB, store.uri, str(buffer), str(start)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 60 < float(done.stdout) < 125
