"""Rows made from what a table holds: nobody's change is lost, whoever writes last."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from taistore.errors import StoreError
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.store.writes import commits
from taistore.store.writes.revision import Change, Row, Snapshot, revise

LABELS = LabelSet(Label(name, name) for name in ("red", "green"))
WRITERS = 4
ROUNDS = 6


def _row(image_id: str, uri: str, others: Sequence[str] = ()) -> Row:
    return {
        "image_id": image_id,
        "uri": uri,
        "width": 1,
        "height": 1,
        "positives": [],
        "negatives": [],
        "complete": False,
        "combination_id": None,
        "split": "test",
        "other_uris": list(others) or None,
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store", LABELS, default_encoder="colour@32")


def _rows(store: Store) -> dict[str, Row]:
    found = [row for batch in store.scan("images") for row in batch.to_pylist()]
    by_id = {row["image_id"]: row for row in found}
    assert len(by_id) == len(found), "a key is there twice"
    return by_id


def _add_path(store: Store, image_ids: Sequence[str], path: str) -> None:
    def plan(images: Snapshot) -> Change:
        stored = {row["image_id"]: row for row in images.rows("image_id", list(image_ids))}
        rows = []
        for image_id in image_ids:
            row = stored.get(image_id) or _row(image_id, "/first")
            rows.append({**row, "other_uris": [*(row["other_uris"] or ()), path]})
        return Change(rows=rows)

    revise(store, "images", plan)


@pytest.mark.parametrize("there", ["no table", "other rows", "indexed"])
def test_many_writers_of_the_same_rows_lose_and_double_nothing(store: Store, there: str) -> None:
    if there != "no table":
        store.append("images", [_row(f"{n:032x}", f"/{n}") for n in range(50)])
    if there == "indexed":
        store.dataset("images").create_scalar_index("image_id", "BTREE")
    ids = ["a" * 32, "b" * 32, f"{3:032x}"]
    together = Barrier(WRITERS)

    def write(writer: int) -> None:
        own = Store.open(store.uri)
        together.wait()
        for turn in range(ROUNDS):
            _add_path(own, ids, f"/{writer}/{turn}")

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))
    wanted = sorted(f"/{writer}/{turn}" for writer in range(WRITERS) for turn in range(ROUNDS))
    rows = _rows(store)
    for image_id in ids:
        assert sorted(rows[image_id]["other_uris"]) == wanted


def test_rows_go_and_come_in_one_commit(store: Store) -> None:
    store.append("images", [_row("a" * 32, "/a"), _row("b" * 32, "/b"), _row("c'" * 16, "/c")])
    before = store.versions([("images", None)])["images"]

    def plan(images: Snapshot) -> Change:
        del images
        return Change(rows=[_row("d" * 32, "/d")], removed=["a" * 32, "c'" * 16])

    revise(store, "images", plan)
    assert sorted(_rows(store)) == ["b" * 32, "d" * 32]
    assert store.versions([("images", None)])["images"] == before + 1
    revise(store, "images", lambda images: Change(removed=["b" * 32]))
    assert sorted(_rows(store)) == ["d" * 32]
    revise(store, "images", lambda images: Change())
    assert store.versions([("images", None)])["images"] == before + 2


def test_a_row_removed_meanwhile_is_planned_anew(store: Store) -> None:
    store.append("images", [_row("a" * 32, "/a"), _row("b" * 32, "/b")])
    seen: list[list[str]] = []

    def plan(images: Snapshot) -> Change:
        found = images.rows("image_id", ["a" * 32])
        if not seen:
            store.dataset("images").delete("uri = '/a'")
        seen.append([row["uri"] for row in found])
        rows = [{**row, "split": "train"} for row in found]
        return Change(rows=rows)

    revise(store, "images", plan)
    assert seen == [["/a"], []]
    assert sorted(_rows(store)) == ["b" * 32]


def test_it_gives_up_where_others_always_come_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "MOST_TRIES", 2)
    store.append("images", [_row("a" * 32, "/a")])

    def plan(images: Snapshot) -> Change:
        (row,) = images.rows("image_id", ["a" * 32])
        store.upsert("images", [{**row, "split": row["split"] + "x"}])
        return Change(rows=[row])

    with pytest.raises(StoreError, match="'images' is changed by other jobs all the time"):
        revise(store, "images", plan)
    assert _rows(store)["a" * 32]["split"] == "testxx"


def test_a_store_whose_rows_cannot_be_looked_up_is_one_line(store: Store) -> None:
    store.append("images", [_row("a" * 32, "/a")])
    wrong: dict[str, Any] = {"removed": ["a" * 32]}

    def plan(images: Snapshot) -> Change:
        for file in Path(store.uri, "images.lance", "data").iterdir():
            file.unlink()
        return Change(rows=[_row("b" * 32, "/b")], **wrong)

    with pytest.raises(StoreError, match="cannot read table 'images'"):
        revise(store, "images", plan)
