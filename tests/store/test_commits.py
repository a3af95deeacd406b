"""Many processes write equal keys into one table at once: no row is doubled, none is lost."""

import contextlib
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from taistore.errors import StoreError
from taistore.labels import Label, LabelSet
from taistore.store.maintenance import MIN_INDEXED_ROWS, optimize
from taistore.store.rejects import Reject
from taistore.store.store import Store
from taistore.store.writes import commits
from taistore.store.writes.commits import committed
from taistore.store.writes.known_keys import KnownKeys
from tests.fakes import ColourEncoder

PROCESSES = 4
COMMITS = 5
ROWS = 40
LABELS = LabelSet([Label("cat", "cat"), Label("dog", "dog")])
INFO = ColourEncoder().info
STATES = ("absent", "unindexed", "indexed", "being optimized")

_together: list[Barrier] = []
"""In a process of the pool: where all of them wait for each other."""


def _join(barrier: Barrier) -> None:
    _together.append(barrier)


@contextlib.contextmanager
def four_processes() -> Iterator[ProcessPoolExecutor]:
    """Processes that start together, for :func:`write_at_once`."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES, timeout=120)
    with ProcessPoolExecutor(
        PROCESSES, mp_context=context, initializer=_join, initargs=(barrier,)
    ) as pool:
        yield pool


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with four_processes() as pool:
        yield pool


def _vectors(first: int, count: int) -> dict[str, list[Any]]:
    ids = [f"{i:032x}" for i in range(first, first + count)]
    return {"image_id": ids, "vector": [[1.0] * INFO.dim] * count}


def _append(store: Store, first: int, count: int) -> int:
    return store.append("image_vectors", _vectors(first, count), encoder_id=INFO.encoder_id)


def _store(path: "Path | str", state: str) -> tuple[Store, int]:
    store = Store.create(path, LABELS, default_encoder="packaged")
    store.register_encoder(INFO)
    if state == "absent":
        return store, 0
    before = 100 if state == "unindexed" else MIN_INDEXED_ROWS
    _append(store, 10**6, before)
    if state == "indexed":
        optimize(store)
    return store, before


def _write(uri: str, number: int, state: str) -> int:
    """Every process writes the same keys in an order of its own, one also compacts meanwhile."""
    store = Store.open(uri)
    _together[0].wait()
    inserted = 0
    for commit in np.random.default_rng(number).permutation(COMMITS).tolist():
        inserted += _append(store, commit * ROWS, ROWS)
        store.reject("job", [Reject(f"u{n}", "reason", str(number)) for n in range(3)])
        if state == "being optimized" and number == 0:
            optimize(store)
    return inserted


def _ids(store: Store) -> Counter[str]:
    batches = store.scan("image_vectors", columns=["image_id"], encoder_id=INFO.encoder_id)
    return Counter(str(i) for batch in batches for i in batch.column(0).to_pylist())


def write_at_once(folder: "Path | str", pool: ProcessPoolExecutor, state: str) -> None:
    """One round of all of them on a new store, which then holds each key once."""
    store, before = _store(folder, state)
    jobs = [pool.submit(_write, store.uri, number, state) for number in range(PROCESSES)]
    inserted = sum(job.result(timeout=120) for job in jobs)
    ids = _ids(store)
    assert max(ids.values()) == 1
    assert len(ids) == before + COMMITS * ROWS
    assert inserted == COMMITS * ROWS
    rejects = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    assert sorted(row["uri"] for row in rejects) == ["u0", "u1", "u2"]


@pytest.mark.parametrize("state", STATES)
def test_equal_keys_from_four_processes_come_once(
    tmp_path: Path, processes: ProcessPoolExecutor, state: str
) -> None:
    for number in range(2):
        write_at_once(tmp_path / str(number), processes, state)


@pytest.mark.faults
@pytest.mark.parametrize("state", STATES)
def test_equal_keys_come_once_in_many_rounds(
    tmp_path: Path, processes: ProcessPoolExecutor, state: str
) -> None:
    for number in range(20):
        write_at_once(tmp_path / str(number), processes, state)


def _empty(store: Store) -> Any:
    store.remove("image_vectors", {"image_id": [f"{10**6:032x}"]}, encoder_id=INFO.encoder_id)
    return store.dataset("image_vectors", INFO.encoder_id)


@pytest.mark.parametrize("rows_before", [0, 1])
def test_of_two_commits_on_one_version_the_later_is_refused(
    tmp_path: Path, rows_before: int
) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="packaged")
    store.register_encoder(INFO)
    _append(store, 10**6, 1)
    first = store.dataset("image_vectors", INFO.encoder_id) if rows_before else _empty(store)
    second = store.dataset("image_vectors", INFO.encoder_id)
    schema = store.schema("image_vectors", INFO.encoder_id)
    files = tmp_path / "s" / f"image_vectors__{INFO.encoder_id}.lance" / "data"
    assert committed(first, pa.Table.from_pydict(_vectors(0, 4), schema=schema))
    there = set(files.iterdir())
    assert not committed(second, pa.Table.from_pydict(_vectors(2, 4), schema=schema))
    assert set(files.iterdir()) == there, "the refused commit left its file"
    assert len(_ids(store)) == rows_before + 4


def test_a_replaced_row_is_there_once_and_new(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="packaged")
    store.reject("a", [Reject("x", "r", "one"), Reject("y", "r", "one")])
    store.reject("b", [Reject("x", "r", "one")])
    assert store.upsert("rejects", [_reject("a", "x", "two"), _reject("b", "z", "two")]) == 1
    rows = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    assert sorted((row["job"], row["uri"], row["detail"]) for row in rows) == [
        ("a", "x", "two"),
        ("a", "y", "one"),
        ("b", "x", "one"),
        ("b", "z", "two"),
    ]


def _reject(job: str, uri: str, detail: str) -> dict[str, Any]:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    return {"job": job, "uri": uri, "reason": "r", "detail": detail, "when": when, "writer": None}


def test_removed_rows_can_come_again(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="packaged")
    store.register_encoder(INFO)
    assert _append(store, 0, 50) == 50
    where = {"image_id": [f"{i:032x}" for i in (3, 7, 99)]}
    assert store.remove("image_vectors", where, encoder_id=INFO.encoder_id) == 2
    version = store.dataset("image_vectors", INFO.encoder_id).version
    assert store.remove("image_vectors", where, encoder_id=INFO.encoder_id) == 0
    assert store.dataset("image_vectors", INFO.encoder_id).version == version
    assert _append(store, 0, 50) == 2
    assert _append(store, 0, 50) == 0
    assert set(_ids(store).values()) == {1}


def test_a_busy_table_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="packaged")
    monkeypatch.setattr(commits, "MOST_TRIES", 0)
    with pytest.raises(StoreError, match="other jobs write table 'rejects' all the time"):
        store.reject("a", [Reject("x", "r", "one")])


def test_a_table_whose_making_was_killed_is_none(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="packaged")
    (tmp_path / "s" / "images.lance" / "data").mkdir(parents=True)
    (tmp_path / "s" / "rejects.lance").mkdir()
    assert store.table_names() == ["labels"]
    assert store.count("images") == 0
    store.reject("a", [Reject("x", "r", "one")])
    assert store.count("rejects") == 1


def test_known_keys_follow_appends_and_compaction(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="packaged")
    store.register_encoder(INFO)
    known = KnownKeys(("image_id",))

    def held(first: int, count: int) -> int:
        dataset = store.dataset("image_vectors", INFO.encoder_id)
        schema = store.schema("image_vectors", INFO.encoder_id)
        rows = pa.Table.from_pydict(_vectors(first, count), schema=schema)
        return int(known.find(dataset, rows, []).num_rows)

    for first in range(0, 300, 30):
        _append(store, first, 30)
        assert held(first, 60) == 30
    optimize(store)
    assert held(0, 400) == 300
