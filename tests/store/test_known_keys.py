"""Where rows are known to lie: after restores and failed reads too, and read once."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from taistore.errors import StoreError
from taistore.store.tables.lance_tables import LanceTables
from taistore.store.writes import known_keys
from taistore.store.writes.known_keys import KnownKeys
from taistore.store.writes.table_writer import TableWriter

KEY = ("id",)


@pytest.fixture
def tables(tmp_path: Path) -> LanceTables:
    return LanceTables(str(tmp_path))


def _rows(first: int, end: int) -> pa.Table:
    return pa.table({"id": [f"k{i}" for i in range(first, end)]})


def _found(writer: TableWriter, rows: pa.Table, over: Any = None) -> int:
    found = writer.find("t", rows, over=over)
    assert found is not None
    ids = found.column("id").to_pylist()
    assert len(set(ids)) == len(ids)
    return len(ids)


@pytest.mark.parametrize("delete_another", [False, True])
def test_deleted_rows_that_a_restored_version_has_again_are_found(
    tables: LanceTables, delete_another: bool
) -> None:
    writer = TableWriter(tables)
    writer.insert("t", _rows(0, 4), KEY)
    writer.insert("t", _rows(4, 8), KEY)
    before = tables.newest("t").version
    writer.remove("t", {"id": ["k1"]})
    other = TableWriter(tables)
    assert other.insert("t", _rows(20, 21), KEY) == 1
    tables.dataset("t", version=before).restore()
    if delete_another:  # as many rows of the fragment are deleted as before
        writer.remove("t", {"id": ["k2"]})
    assert _found(other, _rows(1, 2)) == 1
    assert other.insert("t", _rows(1, 2), KEY) == 0


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_fragments_of_a_restored_version_are_told_from_those_of_the_same_number(
    tables: LanceTables, tmp_path: Path, lost: int
) -> None:
    writer = TableWriter(tables)
    for first in (0, 4, 8, 12):
        writer.insert("t", _rows(first, first + 4), KEY)
    assert _found(writer, _rows(0, 20)) == 16
    newest = tables.newest("t")
    # As verify does where the newest versions are damaged.
    manifests = (tmp_path / "t.lance" / "_versions").glob("*.manifest")
    for path in sorted(manifests, key=_version)[-lost:]:
        path.rename(tmp_path / path.name)
    tables.dataset("t", version=newest.version - lost).restore()
    other = TableWriter(LanceTables(tables.uri))
    for n in range(lost):
        other.insert("t", _rows(100 + 4 * n, 104 + 4 * n), KEY)
    ids = [fragment.fragment_id for fragment in newest.get_fragments()]
    assert [one.fragment_id for one in tables.newest("t").get_fragments()] == ids
    assert tables.newest("t").version > newest.version
    assert _found(writer, _rows(0, 200)) == 16
    assert writer.insert("t", _rows(100, 104), KEY) == 0
    assert writer.insert("t", _rows(0, 16), KEY) == 4 * lost


def _version(manifest: Path) -> int:
    """Lance counts the names of manifests down from 2^64 - 1."""
    return 2**64 - 1 - int(manifest.stem)


def test_a_read_that_fails_in_the_middle_leaves_nothing_behind(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, other = TableWriter(tables), TableWriter(tables)
    writer.insert("t", _rows(0, 1), KEY)
    assert _found(other, _rows(0, 1)) == 1
    writer.insert("t", _rows(1, 30_001), KEY)  # several batches
    hashes, calls = known_keys.key_hashes, []

    def failing(keys: pa.Table) -> Any:
        calls.append(keys.num_rows)
        if len(calls) == 3:
            raise OSError("disk")
        return hashes(keys)

    with monkeypatch.context() as patched:
        patched.setattr(known_keys, "key_hashes", failing)
        with pytest.raises(StoreError):
            _found(other, _rows(0, 1))
    assert _found(other, _rows(0, 30_001)) == 30_001
    (known,) = other._known_keys.values()
    assert sum(map(len, known._runs)) == 30_001


def _reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of the fragments that are read from now on."""
    read: list[int] = []
    plain: Callable[..., None] = KnownKeys._read

    def counting(self: KnownKeys, dataset: Any, new: list[Any]) -> None:
        read.append(sum(fragment.physical_rows for fragment in new))
        plain(self, dataset, new)

    monkeypatch.setattr(KnownKeys, "_read", counting)
    return read


def test_an_older_version_is_answered_without_forgetting_the_newest(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TableWriter(tables)
    writer.insert("t", _rows(0, 1000), KEY)
    old = tables.newest("t")
    read = _reads(monkeypatch)
    writer.insert("t", _rows(1000, 1010), KEY)
    assert _found(writer, _rows(990, 1020), over=old) == 10
    assert _found(writer, _rows(990, 1020)) == 20
    assert _found(writer, _rows(990, 1020), over=old) == 10
    assert sum(read) == 1010


def test_threads_that_ask_while_another_inserts_read_each_row_once(
    tables: LanceTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TableWriter(tables)
    writer.insert("t", _rows(0, 1000), KEY)
    read = _reads(monkeypatch)
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            _found(writer, _rows(0, 1))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for i in range(1000, 1030):
        writer.insert("t", _rows(i, i + 1), KEY)
    stop.set()
    for thread in threads:
        thread.join()
    assert sum(read) <= 1030


def test_the_newest_version_is_taken_when_it_is_a_threads_turn(tables: LanceTables) -> None:
    writer = TableWriter(tables)
    writer.insert("t", _rows(0, 4), KEY)
    counts: list[int] = []
    thread = threading.Thread(target=lambda: counts.append(_found(writer, _rows(0, 8))))
    with writer._writing:
        thread.start()
        thread.join(timeout=0.2)
        assert thread.is_alive()
        TableWriter(LanceTables(tables.uri)).insert("t", _rows(4, 8), KEY)
    thread.join()
    assert counts == [8]
