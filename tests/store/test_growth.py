"""What a commit costs does not grow with the table: what is read for it, what is kept of it."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.maintenance import optimize
from taistore.store.store import Store
from taistore.store.tables import lance_tables
from taistore.store.writes.collector import loaded_set_aside
from taistore.store.writes.known_keys import KnownKeys
from taistore.store.writes.revision import Change, Snapshot, revise
from tests.fakes import ColourEncoder

LABELS = LabelSet([Label("cat", "cat"), Label("dog", "dog")])
INFO = ColourEncoder().info
IO = Path("/proc/self/io")

MANY = 100_000
"""Rows whose ids alone are 3.2 MB."""

READ = 1_000_000
"""Bytes that an answer may read: pages of the rows that it is about, manifests."""


def _ids(first: int, count: int) -> list[str]:
    # As hashes are: not compressible, in no order.
    return [f"{i * 0x9E3779B97F4A7C15 % 2**128:032x}" for i in range(first, first + count)]


def _image(image_id: str) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "uri": image_id,
        "width": 1,
        "height": 1,
        "positives": [],
        "negatives": [],
        "complete": False,
        "combination_id": None,
        "split": "test",
        "other_uris": None,
    }


def _add(store: Store, first: int, count: int) -> int:
    column = vector_column(np.ones((count, INFO.dim), np.float16))
    rows = pa.table({"image_id": _ids(first, count), "vector": column})
    return store.append("image_vectors", rows, encoder_id=INFO.encoder_id)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """With vectors of many images in one fragment, and the rows of these images."""
    store = Store.create(tmp_path_factory.mktemp("g") / "s", LABELS, default_encoder="packaged")
    store.register_encoder(INFO)
    _add(store, 0, MANY)
    store.append("images", [_image(i) for i in _ids(0, MANY)])
    # The first question reads the keys.
    assert store.missing("images", _ids(0, 2)) == []
    assert store.missing("image_vectors", _ids(0, 2), encoder_id=INFO.encoder_id) == []
    return store


def _change(store: Store, first: int) -> None:
    def plan(images: Snapshot) -> Change:
        found = images.rows("image_id", _ids(first, 5))
        assert len(found) == 5
        return Change(rows=[{**row, "split": "train"} for row in found])

    revise(store, "images", plan)


def _insert(store: Store) -> None:
    assert _add(store, MANY - 5, 10) == 5


def _missing(store: Store) -> None:
    assert store.missing("images", [*_ids(7, 3), "nothing"]) == ["nothing"]


def _upsert(store: Store) -> None:
    assert store.upsert("images", [_image(i) for i in [*_ids(50, 5), "new"]]) == 1


@pytest.mark.skipif(not IO.exists(), reason="only Linux tells what was read")
@pytest.mark.parametrize(
    "job",
    [_missing, _insert, _upsert, lambda store: _change(store, 20)],
    ids=["missing", "insert", "upsert", "change"],
)
def test_what_is_read_for_a_commit_does_not_grow(
    store: Store, job: Callable[[Store], None]
) -> None:
    before = int(IO.read_text().split()[1])
    job(store)
    assert int(IO.read_text().split()[1]) - before < READ


def test_known_rows_are_found_whatever_became_of_their_fragments(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="packaged")
    store.register_encoder(INFO)
    known = KnownKeys(("image_id",))

    def found(first: int, count: int) -> list[str]:
        dataset = store.dataset("image_vectors", INFO.encoder_id)
        keys = pa.table({"image_id": _ids(first, count)})
        rows = known.find(dataset, keys, ["vector"])
        assert rows.num_rows == 0 or len(rows.column("vector")[0].as_py()) == INFO.dim
        return sorted(map(str, rows.column("image_id").to_pylist()))

    for first in range(0, 60, 20):
        _add(store, first, 20)
        assert found(first - 10, 40) == sorted(_ids(max(first - 10, 0), min(first + 20, 30)))
    old = store.dataset("image_vectors", INFO.encoder_id)
    store.remove("image_vectors", {"image_id": _ids(20, 20)}, encoder_id=INFO.encoder_id)
    store.remove("image_vectors", {"image_id": _ids(0, 3)}, encoder_id=INFO.encoder_id)
    assert found(0, 100) == sorted(_ids(3, 17) + _ids(40, 20))
    keys = pa.table({"image_id": _ids(0, 100)})
    assert known.find(old, keys, []).num_rows == 60  # as it was then
    assert found(0, 100) == sorted(_ids(3, 17) + _ids(40, 20))
    optimize(store)
    _add(store, 100, 5)
    assert found(0, 200) == sorted(_ids(3, 17) + _ids(40, 20) + _ids(100, 5))
    store.drop("image_vectors", INFO.encoder_id)
    _add(store, 50, 2)
    assert found(0, 200) == sorted(_ids(50, 2))


def test_known_keys_hold_eight_bytes_a_row(store: Store) -> None:
    dataset = store.dataset("image_vectors", INFO.encoder_id)
    known = KnownKeys(("image_id",))
    tracemalloc.start()
    known.follow(dataset)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 9 * MANY


def test_what_lance_keeps_of_earlier_commits_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_tables, "METADATA_BYTES", 2**16)
    monkeypatch.setattr(lance_tables, "INDEX_BYTES", 2**16)
    store = Store.create(tmp_path / "s", LABELS, default_encoder="packaged")
    store.register_encoder(INFO)
    for first in range(0, 800, 20):
        _add(store, first, 20)
    assert store._tables._session.size_bytes() <= 3 * 2**16


@pytest.mark.parametrize(("index_bytes", "is_kept"), [(lance_tables.INDEX_BYTES, True), (0, False)])
def test_an_index_larger_than_what_is_kept_of_manifests_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index_bytes: int, is_kept: bool
) -> None:
    monkeypatch.setattr(lance_tables, "METADATA_BYTES", 2**16)
    monkeypatch.setattr(lance_tables, "INDEX_BYTES", index_bytes)
    store = Store.create(tmp_path / "s", LABELS, default_encoder="packaged")
    store.register_encoder(INFO)
    _add(store, 0, MANY)
    optimize(store)
    store = Store.open(store.uri)
    store.vectors("image_vectors", _ids(0, MANY)[::100], encoder_id=INFO.encoder_id)
    assert (store._tables._session.size_bytes() > 32 * MANY) == is_kept


def test_more_is_kept_of_indexes_than_those_of_a_million_rows_take() -> None:
    assert lance_tables.INDEX_BYTES > 40 * 4_000_000


@pytest.fixture
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("thawed")
def test_what_is_loaded_is_set_aside_for_the_time_of_a_job() -> None:
    with loaded_set_aside():
        held = gc.get_freeze_count()
        assert held > 10_000
        with loaded_set_aside():
            assert gc.get_freeze_count() == held
        assert gc.get_freeze_count() == held
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("thawed")
def test_what_others_have_set_aside_stays_so() -> None:
    gc.freeze()
    with loaded_set_aside():
        pass
    assert gc.get_freeze_count() > 10_000
