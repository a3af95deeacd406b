"""What is wrong in a store is found, named, and mended where that loses nothing."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from taistore.errors import StoreError
from taistore.store.maintenance import MIN_INDEXED_ROWS, optimize
from taistore.store.store import Store
from taistore.store.verification import doubled_keys
from taistore.store.verification.dangling_ids import dangling_findings
from taistore.store.verification.finding import Finding, Verification
from taistore.store.verification.verify_store import verify_store
from taistore.store.writes import removal
from tests.images.odd_files import without_rights
from tests.store.damage import (
    COMMITS,
    IMAGES,
    INFO,
    LABELS,
    REGIONS,
    ROWS,
    TEXTS,
    TOKENS,
    add,
    double,
    folder,
    image_ids,
    newest_file,
    newest_manifest,
    overwritten,
    vectors,
    whole_store,
)

AT_ONCE = timedelta(0)
TWO_HOURS_AGO = time.time() - 7200


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return whole_store(tmp_path / "s")


def _codes(found: Verification) -> list[tuple[str, str, bool]]:
    return [(one.code, one.table, one.repaired) for one in found.findings]


def _only(found: Verification) -> Finding:
    [one] = found.findings
    return one


def _rows(store: Store, table: str) -> list[Any]:
    rows = lance.dataset(str(folder(store, table))).to_table().to_pylist()
    return sorted(rows, key=str)


def test_a_sound_store_is_sound_and_stays_as_it_is(store: Store) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(store.uri).rglob("*")}
    found = verify_store(store.uri, repair=True, older_than=AT_ONCE)
    assert found.findings == ()
    assert found.sound
    assert found.tables[IMAGES] == found.tables["images"] == COMMITS * ROWS
    assert {path: path.stat().st_mtime_ns for path in Path(store.uri).rglob("*")} == before


# --- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_a_store_with_doubled_rows_is_found_and_mended(
    store: Store, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(removal, "ROWS_AT_ONCE", at_once)
    monkeypatch.setattr(doubled_keys, "ROWS_AT_ONCE", at_once)
    tables = ["combinations", "images", IMAGES, TEXTS, "texts"]
    before = {table: _rows(store, table) for table in tables}
    for table in tables:
        double(store, table)
        double(store, table)
    found = verify_store(store.uri)
    assert sorted(_codes(found)) == [("doubled-key", table, False) for table in sorted(tables)]
    assert not found.sound
    assert f"{3 * COMMITS * ROWS:,} rows repeat" in found.findings[1].what
    mended = verify_store(store.uri, repair=True)
    assert sorted(_codes(mended)) == [("doubled-key", table, True) for table in sorted(tables)]
    assert mended.sound
    assert {table: _rows(store, table) for table in tables} == before
    assert verify_store(store.uri).findings == ()
    add(store, COMMITS)
    assert len(_rows(store, IMAGES)) == (COMMITS + 1) * ROWS


def test_of_rows_that_differ_the_last_stays(store: Store) -> None:
    place = str(folder(store, "images"))
    rows = lance.dataset(place).to_table().slice(0, 1)
    moved = rows.set_column(1, rows.schema.field("uri"), pa.array(["moved.png"]))
    lance.write_dataset(moved, place, mode="append")
    assert verify_store(store.uri, repair=True).sound
    uris = [row["uri"] for row in _rows(store, "images")]
    assert len(uris) == COMMITS * ROWS
    assert "moved.png" in uris


def test_vectors_of_nothing_are_removed_once_no_job_can_own_them(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "_BLOCK", 2)
    store.remove("images", {"image_id": image_ids(1)})
    before = len(_rows(store, IMAGES))
    young = verify_store(store.uri, repair=True)
    assert _codes(young) == [("dangling-id", IMAGES, False), ("dangling-id", REGIONS, False)]
    assert young.sound
    assert f"{ROWS} young rows" in young.findings[0].what
    assert len(_rows(store, IMAGES)) == before
    old = verify_store(store.uri, older_than=AT_ONCE)
    assert [found.severity for found in old.findings] == ["warning", "warning"]
    assert old.sound
    assert image_ids(1)[0] in old.findings[0].what
    assert old.findings[0].remedy == "run 'taistore prune --apply', or let repair= remove them"
    mended = verify_store(store.uri, repair=True, older_than=AT_ONCE)
    assert _codes(mended) == [("dangling-id", IMAGES, True), ("dangling-id", REGIONS, True)]
    assert len(_rows(store, IMAGES)) == len(_rows(store, REGIONS)) == before - ROWS
    assert verify_store(store.uri).findings == ()


def test_beside_old_vectors_of_nothing_the_young_stay(store: Store) -> None:
    store.remove("images", {"image_id": image_ids(1)})
    place = str(folder(store, IMAGES))
    then: Any = lance.dataset(place).versions()[-1]["timestamp"]
    rows = {"image_id": image_ids(COMMITS), "vector": vectors(ROWS)}
    store.append("image_vectors", rows, encoder_id=INFO.encoder_id)
    tables = {name: lance.dataset(str(folder(store, name))) for name in (IMAGES, "images")}
    found = list(dangling_findings(store, tables, repair=True, before=then))
    assert [(one.severity, one.repaired) for one in found if one.table == IMAGES] == [
        ("warning", False),
        ("warning", True),
    ]
    ids = {row["image_id"] for row in _rows(store, IMAGES)}
    assert ids == {*image_ids(0), *image_ids(2), *image_ids(COMMITS)}


def test_texts_without_their_combination_are_told_and_kept(store: Store) -> None:
    gone = LABELS.combination_id([0, 1])
    store.remove("combinations", {"combination_id": [gone]})
    found = verify_store(store.uri, repair=True, older_than=AT_ONCE)
    tables = [TEXTS, TOKENS, "texts"]
    assert _codes(found) == [("dangling-id", table, False) for table in tables]
    assert all(str(gone) in one.what for one in found.findings)
    assert {one.severity for one in found.findings} == {"error"}
    assert len(_rows(store, TOKENS)) == COMMITS * ROWS


def test_images_that_lost_their_vectors_are_told(store: Store) -> None:
    encoder = INFO.encoder_id
    store.remove("image_vectors", {"image_id": image_ids(0)}, encoder_id=encoder)
    store.remove("text_vectors", {"text_id": image_ids(0)[:1]}, encoder_id=encoder)
    found = verify_store(store.uri)
    assert _codes(found) == [("no-vector", "images", False), ("no-vector", "texts", False)]
    assert "4 rows" in found.findings[0].what
    assert found.sound


def test_labels_that_do_not_exist_and_ids_that_are_not_those_of_the_labels(store: Store) -> None:
    store.append("combinations", {"combination_id": [5], "label_ids": [[0, 7]]})
    store.append("combinations", {"combination_id": [6], "label_ids": [[1]]})
    found = verify_store(store.uri)
    assert [(one.code, one.what) for one in found.findings] == [
        ("unknown-label", "label ids outside of 0 to 1 in 1 row (such as 5)"),
        ("wrong-id", "an id that is not the hash of its labels in 1 row (such as 6)"),
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_useless_vectors_are_removed_so_that_they_are_made_again(
    store: Store, value: float
) -> None:
    encoder = INFO.encoder_id
    bad = [[1.0] * (INFO.dim - 1) + [value] if value else [0.0] * INFO.dim]
    ids = image_ids(0)[:1]
    store.upsert("image_vectors", {"image_id": ids, "vector": bad}, encoder_id=encoder)
    one = _only(verify_store(store.uri))
    assert (one.code, one.table) == ("bad-vector", IMAGES)
    assert ids[0] in one.what
    assert str(newest_file(store, IMAGES)) in one.what
    assert _only_code(verify_store(store.uri, repair=True)) == ("bad-vector", True)
    assert store.missing("image_vectors", image_ids(0), encoder_id=encoder) == ids
    store.append("image_vectors", {"image_id": ids, "vector": vectors(1)}, encoder_id=encoder)
    assert verify_store(store.uri).findings == ()


def _only_code(found: Verification) -> tuple[str, bool]:
    """The code of what is wrong besides the vectors that lack then."""
    [one] = [one for one in found.findings if one.code != "no-vector"]
    return one.code, one.repaired


@pytest.mark.parametrize("cells", [[1.0] * 3, [np.inf] + [1.0] * (4 * INFO.dim - 1)])
def test_regions_that_are_not_a_grid_of_finite_vectors(store: Store, cells: list[float]) -> None:
    row = {"image_id": image_ids(0)[:1], "grid": [2], "vectors": [cells]}
    store.upsert("region_vectors", row, encoder_id=INFO.encoder_id)
    assert _only(verify_store(store.uri)).code == "bad-vector"


def test_a_norm_far_from_the_others_is_a_warning(store: Store) -> None:
    row = {"image_id": image_ids(0)[:1], "vector": [[500.0] * INFO.dim]}
    store.upsert("image_vectors", row, encoder_id=INFO.encoder_id)
    found = verify_store(store.uri)
    assert _codes(found) == [("far-norm", IMAGES, False)]
    assert image_ids(0)[0] in _only(found).what
    assert found.sound


# --- tables ------------------------------------------------------------------------------------


def test_tables_that_are_not_as_their_contract(store: Store) -> None:
    place = str(folder(store, "rejects"))
    lance.write_dataset(pa.table({"job": ["x"]}), place)
    lance.write_dataset(pa.table({"x": [1]}), str(folder(store, "mine")))
    other = str(folder(store, "image_vectors__other"))
    lance.write_dataset(lance.dataset(str(folder(store, IMAGES))).to_table(), other)
    found = verify_store(store.uri)
    codes = {(one.code, one.table) for one in found.findings}
    assert codes == {
        ("broken-contract", "rejects"),
        ("unknown-table", "mine"),
        ("unknown-encoder", "image_vectors__other"),
    }
    assert any("column 'uri' is absent, not string" in one.what for one in found.findings)


def test_a_table_of_another_dimension_than_its_encoder(store: Store) -> None:
    place = folder(store, IMAGES)
    schema = store.schema("image_vectors", INFO.encoder_id)
    wrong = schema.set(1, pa.field("vector", pa.list_(pa.float16(), 3), nullable=False))
    table = pa.Table.from_pydict({"image_id": ["a"], "vector": [[1.0, 1.0, 1.0]]}, schema=wrong)
    lance.write_dataset(table, str(place), mode="overwrite")
    assert "fixed_size_list" in _only(verify_store(store.uri)).what


# --- files -------------------------------------------------------------------------------------

FILE_DAMAGE: dict[str, Callable[[Path], object]] = {
    "is missing": Path.unlink,
    "has 300 bytes": lambda path: path.write_bytes(path.read_bytes()[:300]),
    "is damaged": lambda path: overwritten(
        path, start=path.stat().st_size - 60, value=b"\xff" * 60
    ),
}


@pytest.mark.parametrize("why", FILE_DAMAGE)
@pytest.mark.parametrize("table", [IMAGES, "images", "labels"])
def test_a_damaged_file_is_named_and_the_table_led_back_on_request(
    store: Store, table: str, why: str
) -> None:
    if table == "labels":  # a table of one version: a second one makes it possible to go back
        lance.dataset(str(folder(store, table))).update_schema_metadata({"a": "b"})
        add_labels = lance.dataset(str(folder(store, table)))
        lance.write_dataset(add_labels.to_table().slice(0, 0), add_labels.uri, mode="append")
    path = newest_file(store, table)
    FILE_DAMAGE[why](path)
    found = verify_store(store.uri, repair=True)
    one = found.findings[0]
    assert (one.code, one.table, one.repaired) == ("damaged-file", table, False)
    assert f"{path} {why}" in one.what
    assert not found.sound
    if table == "labels":
        assert "no version of the table reads whole" in one.what
        assert found.findings[1].code == "not-checked"
        with pytest.raises(StoreError, match="no version of it reads whole"):
            verify_store(store.uri, restore=[table])
        return
    assert [one.code for one in found.findings] == ["damaged-file"], "nothing else is judged by it"
    assert f"version {COMMITS - 1} still reads whole, with 8 of 12 rows" in one.what
    assert f"restore={table}" in one.remedy
    restored = verify_store(store.uri, restore=[table])
    assert restored.findings[0].repaired
    assert "what was committed after it is lost" in restored.findings[0].remedy
    assert len(_rows(store, table)) == (COMMITS - 1) * ROWS
    add(store, COMMITS - 1)
    assert verify_store(store.uri).findings == ()


def test_a_file_without_permission_is_named(store: Store, tmp_path: Path) -> None:
    path = newest_file(store, IMAGES)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == tmp_path.owner() and "pytest" in str(parent):
            parent.chmod(0o755)
    path.chmod(0)
    with without_rights():
        one = _only(verify_store(store.uri))
    assert f"{path} cannot be read (Permission denied)" in one.what
    assert "right to read" in one.remedy


def test_flipped_bytes_in_vectors_name_their_file(store: Store) -> None:
    path = newest_file(store, IMAGES)
    start = path.read_bytes().index(np.array(vectors(ROWS)[1], dtype=np.float16).tobytes())
    overwritten(path, start=start, value=b"\xff" * 8)
    one = _only(verify_store(store.uri))
    assert one.code == "bad-vector"
    assert image_ids(COMMITS - 1)[1] in one.what
    assert str(path) in one.what


def test_a_lost_manifest_is_told_from_a_short_table(store: Store) -> None:
    newest_manifest(store, IMAGES).unlink()
    found = verify_store(store.uri, repair=True, older_than=AT_ONCE)
    assert _codes(found) == [("lost-version", IMAGES, False)]
    assert "Lance noted 3, the newest manifest is 2" in _only(found).what
    kept = set((folder(store, IMAGES) / "data").iterdir())
    assert len(kept) == COMMITS, "what the lost version named is not removed as an orphan"
    assert verify_store(store.uri, restore=[IMAGES]).findings[0].repaired
    add(store, COMMITS - 1)
    assert verify_store(store.uri).findings == ()


@pytest.mark.parametrize("left", [0, 20])
def test_a_damaged_manifest_is_named_and_led_back(store: Store, left: int) -> None:
    path = newest_manifest(store, IMAGES)
    path.write_bytes(path.read_bytes()[:left])
    one = _only(verify_store(store.uri))
    assert one.code == "damaged-manifest"
    assert str(path) in one.what
    assert "version 2 still reads whole, with 8 rows" in one.what
    assert verify_store(store.uri, restore=[IMAGES]).findings[0].repaired
    assert len(_rows(store, IMAGES)) == (COMMITS - 1) * ROWS
    add(store, COMMITS - 1)
    assert verify_store(store.uri).findings == ()


def test_only_a_damaged_table_can_be_led_back(store: Store) -> None:
    with pytest.raises(StoreError, match="nothing is damaged: leave out restore=images"):
        verify_store(store.uri, restore=["images"])
    with pytest.raises(StoreError, match="there is no table 'imagse'"):
        verify_store(store.uri, restore=["imagse"])


def test_no_store_an_unfinished_one_and_a_damaged_one(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not even a damaged one"):
        verify_store(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="not even a damaged one"):
        verify_store(tmp_path / "empty")
    (tmp_path / "begun" / "labels.lance").mkdir(parents=True)
    begun = verify_store(tmp_path / "begun")
    assert [one.code for one in begun.findings] == ["no-version", "not-checked"]
    assert "taistore init" in begun.findings[1].remedy
    for path in (folder(store, "labels") / "_versions").iterdir():
        path.unlink()
    damaged = verify_store(store.uri)
    assert [one.code for one in damaged.findings] == ["no-version", "not-checked"]
    assert "mend that table" in damaged.findings[1].remedy


def test_files_of_no_version_are_removed_when_they_are_old(store: Store) -> None:
    stray = folder(store, IMAGES) / "data" / "stray.lance"
    stray.write_bytes(b"x" * 100)
    assert verify_store(store.uri, repair=True).findings == ()
    assert stray.exists()
    os.utime(stray, (TWO_HOURS_AGO, TWO_HOURS_AGO))
    one = _only(verify_store(store.uri))
    assert "1 file, 100 bytes" in one.what
    assert str(stray) in one.what
    assert _codes(verify_store(store.uri, repair=True)) == [("orphan-file", IMAGES, True)]
    assert not stray.exists()
    assert len(_rows(store, IMAGES)) == COMMITS * ROWS


def test_no_file_is_removed_while_a_version_cannot_say_which_are_its(store: Store) -> None:
    stray = folder(store, IMAGES) / "data" / "stray.lance"
    stray.write_bytes(b"x")
    os.utime(stray, (TWO_HOURS_AGO, TWO_HOURS_AGO))
    max((folder(store, IMAGES) / "_versions").glob("*.manifest")).write_bytes(b"")
    assert _codes(verify_store(store.uri, repair=True)) == [("not-checked", IMAGES, False)]
    assert stray.exists()


def test_a_table_that_was_never_made_is_removed_when_it_is_old(store: Store) -> None:
    begun = folder(store, "rejects")
    begun.mkdir()
    found = verify_store(store.uri, repair=True)
    assert _codes(found) == [("no-version", "rejects", False)]
    assert found.sound
    os.utime(begun, (TWO_HOURS_AGO, TWO_HOURS_AGO))
    assert _codes(verify_store(store.uri, repair=True)) == [("no-version", "rejects", True)]
    assert not begun.exists()


def test_a_damaged_index_is_dropped_and_made_again(store: Store) -> None:
    ids = [f"{i:032x}" for i in range(10**6, 10**6 + MIN_INDEXED_ROWS)]
    rows = {"image_id": ids, "vector": vectors(1) * len(ids)}
    store.append("image_vectors", rows, encoder_id=INFO.encoder_id)
    optimize(store)
    for path in (folder(store, IMAGES) / "_indices").rglob("*.lance"):
        path.unlink()
    codes = {(one.code, one.repaired) for one in verify_store(store.uri, repair=True).findings}
    assert ("damaged-index", True) in codes
    optimize(store)
    assert "damaged-index" not in {one.code for one in verify_store(store.uri).findings}
