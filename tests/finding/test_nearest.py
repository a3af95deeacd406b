"""The nearest rows of a vector table: the plain order of cosines, with an index or without."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.encoders.imported.vector_reader import imported_info
from taistore.errors import StoreError
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.maintenance import _index, optimize
from taistore.store.reads.nearest import all_cosines, nearest, spread
from taistore.store.store import Store
from taistore.store.verification.verify_store import verify_store
from taistore.store.writes import vector_index
from taistore.store.writes.vector_index import has_vector_index, make_vector_index
from tests.killing import ROOT

INFO = imported_info("clip", dim=32)
KIND, ENCODER_ID = "image_vectors", INFO.encoder_id
ROWS, CENTRES = 3000, 60

Vectors = NDArray[np.float32]


def drawn(rows: int, *, seed: int) -> Vectors:
    """Vectors around some centres, of lengths of their own, all off to one side."""
    centres = np.random.default_rng(0).standard_normal((CENTRES, INFO.dim)) + 0.5
    random = np.random.default_rng(seed)
    near = centres[random.integers(0, CENTRES, rows)]
    vectors = near + 0.3 * random.standard_normal((rows, INFO.dim))
    return (vectors * random.uniform(0.5, 8, (rows, 1))).astype(np.float16).astype(np.float32)


def image_ids(first: int, rows: int) -> list[str]:
    return [f"{n:032x}" for n in range(first, first + rows)]


def add(store: Store, vectors: Vectors, *, first: int) -> None:
    rows = {"image_id": image_ids(first, len(vectors)), "vector": vector_column(vectors)}
    store.append(KIND, rows, encoder_id=ENCODER_ID)


def plain_order(vectors: Vectors, query: Vectors) -> tuple[list[str], Vectors]:
    """The rival: NumPy over everything."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ (query / np.linalg.norm(query))
    order = np.argsort(-cosines, kind="stable")
    return [f"{n:032x}" for n in order], cosines[order]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(
        tmp_path / "store", LabelSet([Label("a", "a")]), default_encoder="vectors:clip"
    )
    made.register_encoder(INFO)
    return made


def test_order_is_that_of_plain_cosines(store: Store) -> None:
    vectors = drawn(ROWS, seed=1)
    for part in np.array_split(np.arange(ROWS), 7):
        add(store, vectors[part], first=int(part[0]))
    for query in drawn(5, seed=2):
        ids, cosines = plain_order(vectors, query)
        every = all_cosines(store, KIND, ENCODER_ID, query)
        assert len(every) == ROWS
        found, found_cosines = every.part(0, ROWS)
        np.testing.assert_allclose(found_cosines, cosines, atol=1e-6)
        near = nearest(store, KIND, ENCODER_ID, query, 20).part(0, 20)
        assert near[0] == ids[:20] == found[:20]


def test_a_table_without_an_index_of_no_rows_has_nothing(store: Store) -> None:
    query = drawn(1, seed=2)[0]
    assert len(nearest(store, KIND, ENCODER_ID, query, 5)) == 0
    assert len(all_cosines(store, KIND, ENCODER_ID, query)) == 0
    assert spread(store, KIND, ENCODER_ID, query, rows=100) == 1.0


def test_a_vector_or_query_without_direction_is_told(store: Store) -> None:
    vectors = drawn(4, seed=1)
    vectors[2] = 0
    add(store, vectors, first=0)
    with pytest.raises(StoreError, match=r"0002 is no direction: 'taistore verify --repair'"):
        nearest(store, KIND, ENCODER_ID, vectors[0], 2)
    with pytest.raises(StoreError, match="the query has a vector that is no direction"):
        nearest(store, KIND, ENCODER_ID, vectors[2], 2)


def test_spread_is_that_of_the_cosines(store: Store) -> None:
    vectors = drawn(500, seed=1)
    add(store, vectors, first=0)
    query = drawn(1, seed=3)[0]
    _, cosines = plain_order(vectors, query)
    assert spread(store, KIND, ENCODER_ID, query, rows=500) == pytest.approx(
        cosines.std(), rel=1e-4
    )


def recall(store: Store, vectors: Vectors, queries: Vectors) -> float:
    """Share of the true 20 nearest that are found."""
    shares = []
    for query in queries:
        found, _ = nearest(store, KIND, ENCODER_ID, query, 20).part(0, 20)
        shares.append(len(set(found) & set(plain_order(vectors, query)[0][:20])) / 20)
    return float(np.mean(shares))


def test_an_index_finds_what_is_there_and_what_came_since(store: Store) -> None:
    vectors = drawn(ROWS, seed=1)
    add(store, vectors, first=0)
    assert make_vector_index(store.dataset(KIND, ENCODER_ID), min_rows=ROWS)
    assert has_vector_index(store.dataset(KIND, ENCODER_ID))
    queries = drawn(20, seed=2)
    assert recall(store, vectors, queries) >= 0.95
    # Rows that no list holds yet are searched beside it, wherever they lie.
    later = drawn(40, seed=4)
    add(store, later, first=ROWS)
    vectors = np.concatenate([vectors, later])
    assert recall(store, vectors, queries) >= 0.95
    for n, query in enumerate(later):
        found, cosines = nearest(store, KIND, ENCODER_ID, query, 5).part(0, 5)
        assert found[0] == f"{ROWS + n:032x}"
        assert cosines[0] == pytest.approx(1, abs=1e-6)
        assert (np.diff(cosines) <= 0).all()


def test_removed_and_replaced_rows_are_found_as_they_are(store: Store) -> None:
    vectors = drawn(ROWS, seed=1)
    add(store, vectors, first=0)
    make_vector_index(store.dataset(KIND, ENCODER_ID), min_rows=1)
    store.remove(KIND, {"image_id": [f"{5:032x}"]}, encoder_id=ENCODER_ID)
    assert f"{5:032x}" not in nearest(store, KIND, ENCODER_ID, vectors[5], 20).part(0, 20)[0]
    moved = drawn(1, seed=9)
    store.upsert(
        KIND,
        {"image_id": [f"{7:032x}"], "vector": vector_column(moved)},
        encoder_id=ENCODER_ID,
    )
    found = nearest(store, KIND, ENCODER_ID, moved[0], 20).part(0, 20)[0]
    assert found[0] == f"{7:032x}"
    assert found.count(f"{7:032x}") == 1


def test_optimize_makes_the_index_of_a_large_table_and_keeps_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taistore.store.maintenance.MIN_INDEXED_ROWS", 1000)
    add(store, drawn(ROWS, seed=1), first=0)
    table = store.table_name(KIND, ENCODER_ID)
    (report,) = [one for one in optimize(store, keep_days=0) if one.table == table]
    assert report.indexed == ("image_id",)
    monkeypatch.setattr(vector_index, "MIN_ROWS", ROWS)
    for _ in range(2):
        (report,) = [one for one in optimize(store, keep_days=0) if one.table == table]
        assert report.indexed == ("image_id", "vector")
    add(store, drawn(300, seed=5), first=ROWS)
    optimize(store, keep_days=0)
    (index,) = [
        one
        for one in store.dataset(KIND, ENCODER_ID).describe_indices()
        if one.field_names == ["vector"]
    ]
    assert index.num_rows_indexed == ROWS + 300


def test_two_that_optimize_at_once_make_one_index(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taistore.store.maintenance.MIN_INDEXED_ROWS", 1000)
    monkeypatch.setattr(vector_index, "MIN_ROWS", ROWS)
    vectors = drawn(ROWS, seed=1)
    add(store, vectors, first=0)
    slow = store.dataset(KIND, ENCODER_ID)
    assert _index(store.dataset(KIND, ENCODER_ID), KIND, by_vector=True) == ("image_id", "vector")
    # The other began before that and comes behind it: what it made is left out, and harms nothing.
    _index(slow, KIND, by_vector=True)
    indexes = store.dataset(KIND, ENCODER_ID).describe_indices()
    assert sorted(index.name for index in indexes) == ["image_id_idx", "vector_idx"]
    found = nearest(store, KIND, ENCODER_ID, vectors[5], 20).part(0, 20)[0]
    assert len(set(found)) == 20


def test_no_warning_of_lance_meets_who_searches(
    store: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    vectors = drawn(ROWS, seed=1)
    add(store, vectors, first=0)
    make_vector_index(store.dataset(KIND, ENCODER_ID), min_rows=1)
    nearest(store, KIND, ENCODER_ID, vectors[5], 20)
    assert capfd.readouterr().err == ""


_OPTIMIZE = """
import sys
from taistore.store import maintenance
from taistore.store.store import Store
from taistore.store.writes import vector_index
vector_index.MIN_ROWS = maintenance.MIN_INDEXED_ROWS = 1000
maintenance.optimize(Store.open(sys.argv[1]), keep_days=0)
"""


def test_an_index_that_was_killed_in_the_making_is_made_again(store: Store) -> None:
    vectors = drawn(ROWS, seed=1)
    add(store, vectors, first=0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _OPTIMIZE, store.uri]
    folder = Path(store.uri) / f"{store.table_name(KIND, ENCODER_ID)}.lance" / "_indices"
    with subprocess.Popen(command, env=environment) as process:
        # The second folder is that of the vectors: it is killed while files are written there.
        while process.poll() is None and len(list(folder.glob("*"))) < 2:
            time.sleep(0.001)
        process.kill()
    queries = drawn(5, seed=2)
    assert recall(store, vectors, queries) >= 0.95
    assert subprocess.run(command, env=environment, check=True).returncode == 0
    assert has_vector_index(store.dataset(KIND, ENCODER_ID))
    assert recall(store, vectors, queries) >= 0.95
    assert verify_store(store.uri).sound
