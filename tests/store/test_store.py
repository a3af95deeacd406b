"""A real store on disk: contracts, appends without duplicates, lookups, clear refusals."""

import dataclasses
import json
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from taistore.contracts import TABLES
from taistore.encoders.protocol import EncoderInfo
from taistore.errors import StoreError
from taistore.labels import Label, LabelSet
from taistore.store.arrow import vector_column
from taistore.store.maintenance import MIN_INDEXED_ROWS, optimize
from taistore.store.rejects import Reject
from taistore.store.run_rows import RunRow
from taistore.store.store import Store
from taistore.store.tables.labels_table import require_nothing_else
from tests.images.odd_files import without_rights

LABELS = LabelSet([Label("cat", "cat", ("kitten",)), Label("dog", "dog"), Label("cup", "cup")])


def encoder_info(encoder_id: str = "colour_16", dim: int = 16) -> EncoderInfo:
    return EncoderInfo(
        encoder_id=encoder_id,
        spec="colour",
        library="test",
        model="colour",
        weights="none",
        weights_digest="0",
        resolution=8,
        resize="squash",
        dim=dim,
        context_length=16,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "store", LABELS, default_encoder="packaged")
    made.register_encoder(encoder_info())
    return made


def text_rows(ids: list[int], dim: int = 16) -> dict[str, object]:
    vectors = np.stack([np.full(dim, i, dtype=np.float16) for i in ids])
    return {
        "text_id": [f"{i:032x}" for i in ids],
        "combination_id": [i % 7 for i in ids],
        "vector": vector_column(vectors),
    }


def test_one_of_no_values_is_no_row(store: Store) -> None:
    store.append("text_vectors", text_rows([1, 2]), encoder_id="colour_16")
    values: list[dict[str, Any]] = [{"text_id": []}, {"combination_id": [1], "text_id": ()}]
    for where in values:
        found = store.scan("text_vectors", encoder_id="colour_16", where=where)
        assert sum(batch.num_rows for batch in found) == 0
        assert store.remove("text_vectors", where, encoder_id="colour_16") == 0
    assert store.vectors("text_vectors", [], encoder_id="colour_16").shape == (0, 16)


def test_create_is_idempotent_and_guards_labels(store: Store) -> None:
    again = Store.create(store.uri, LABELS, default_encoder="packaged")
    assert again.labels == LABELS
    assert again.default_encoder == "packaged"
    with pytest.raises(StoreError, match="other labels"):
        Store.create(store.uri, LabelSet([Label("x", "x")]), default_encoder="packaged")
    with pytest.raises(StoreError, match="default encoder is 'packaged'"):
        Store.create(store.uri, LABELS, default_encoder="open_clip:RN50/openai@224")


def test_find_is_the_store_or_none(store: Store, tmp_path: Path) -> None:
    found = Store.find(store.uri)
    assert found is not None
    assert (found.default_encoder, found.labels) == ("packaged", LABELS)
    assert Store.find(tmp_path / "absent") is None
    assert Store.find(tmp_path / "absent" / "deep") is None
    (tmp_path / "file").write_bytes(b"mine")
    for place in ("file", "file/deep/store"):
        with pytest.raises(StoreError, match=r"/file is no folder: choose another path="):
            Store.find(tmp_path / place)
    assert not (tmp_path / "absent").exists()


def test_a_store_that_another_process_has_just_made_is_no_damage(store: Store) -> None:
    require_nothing_else(store.uri)


def test_open_of_nothing_names_the_command_and_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="taistore init"):
        Store.open(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_a_store_of_another_version_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taistore.store.tables.labels_table.STORE_VERSION", 99)
    with pytest.raises(StoreError, match=r"reads 99: .*'taistore upgrade --store "):
        Store.open(store.uri)
    monkeypatch.setattr("taistore.store.tables.labels_table.STORE_VERSION", 1)
    with pytest.raises(StoreError, match="this taistore reads 1: install a newer taistore"):
        Store.open(store.uri)


def test_append_inserts_each_key_once(store: Store) -> None:
    assert store.append("text_vectors", text_rows([1, 2, 2, 3]), encoder_id="colour_16") == 3
    assert store.append("text_vectors", text_rows([3, 4]), encoder_id="colour_16") == 1
    assert store.count("text_vectors", "colour_16") == 4


def test_upsert_replaces_the_row(store: Store) -> None:
    store.reject("job", [Reject("it's; DROP TABLE", "empty", "first")])
    store.reject("job", [Reject("it's; DROP TABLE", "empty", "second")])
    rows = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    assert [row["detail"] for row in rows] == ["second"]
    found = list(store.scan("rejects", where={"uri": "it's; DROP TABLE"}))
    assert sum(batch.num_rows for batch in found) == 1


def test_a_reject_that_succeeded_is_forgotten(store: Store) -> None:
    store.clear_rejects("job", ["a"])
    store.reject("job", [Reject("a", "empty", ""), Reject("b' OR '1'='1", "empty", "")])
    store.reject("other", [Reject("a", "empty", "")])
    store.clear_rejects("job", ["a", "c"])
    rows = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
    left = sorted((row["job"], row["uri"]) for row in rows)
    assert left == [("job", "b' OR '1'='1"), ("other", "a")]


def test_missing_and_vectors_keep_the_asked_order(store: Store) -> None:
    store.append("text_vectors", text_rows([5, 1, 3]), encoder_id="colour_16")
    ids = [f"{i:032x}" for i in (3, 9, 5, 8)]
    assert store.missing("text_vectors", ids, encoder_id="colour_16") == [ids[1], ids[3]]
    vectors = store.vectors("text_vectors", [ids[0], ids[2]], encoder_id="colour_16")
    assert vectors[:, 0].tolist() == [3.0, 5.0]
    with pytest.raises(StoreError, match=ids[1]):
        store.vectors("text_vectors", ids[:2], encoder_id="colour_16")


def test_single_questions_read_no_key_column(store: Store) -> None:
    store.append("text_vectors", text_rows([5, 1, 3]), encoder_id="colour_16")
    asking = Store.open(store.uri)
    ids = [f"{i:032x}" for i in (3, 9, 5, 8, 9)]
    missing = asking.missing("text_vectors", ids, encoder_id="colour_16", single=True)
    assert missing == [ids[1], ids[3]]
    assert not asking._writer._known_keys


@pytest.mark.parametrize("columns", [None, ["detail", "uri"]])
def test_look_ups_have_the_same_columns_with_and_without_a_table(
    store: Store, columns: list[str] | None
) -> None:
    before = store.look_up("rejects", "job", ["b", "a"], columns=columns)
    assert before.num_rows == 0
    store.reject("a", [Reject("x", "empty", "")])
    found = store.look_up("rejects", "job", ["b", "a"], columns=columns)
    assert found.num_rows == 1
    assert found.schema == before.schema


def test_missing_in_a_table_that_does_not_exist(store: Store) -> None:
    assert store.missing("images", ["a", "b", "a"]) == ["a", "b"]
    assert store.missing("images", ["a", "b", "a"], single=True) == ["a", "b"]
    assert store.count("images") == 0


def test_vectors_of_another_encoder_never_share_a_table(store: Store) -> None:
    with pytest.raises(StoreError, match="no vectors of encoder 'other'"):
        store.append("text_vectors", text_rows([1]), encoder_id="other")
    store.register_encoder(encoder_info("wide_32", dim=32))
    store.append("text_vectors", text_rows([1]), encoder_id="colour_16")
    store.append("text_vectors", text_rows([1], dim=32), encoder_id="wide_32")
    assert store.vectors("text_vectors", [f"{1:032x}"], encoder_id="wide_32").shape == (1, 32)


def test_an_encoder_id_cannot_leave_the_store(store: Store) -> None:
    with pytest.raises(StoreError, match="a-z, 0-9"):
        store.register_encoder(encoder_info("../../etc"))


def test_combination_index_round_trip(store: Store) -> None:
    combinations = [[0], [1, 2], [0, 1, 2], [2]]
    ids = [LABELS.combination_id(label_ids) for label_ids in combinations]
    rows = {"combination_id": ids, "label_ids": combinations}
    store.append("combinations", rows)
    index = store.combination_index()
    counts, flat = index.positives(np.array([ids[2], ids[0], ids[2]]))
    assert counts.tolist() == [3, 1, 3]
    assert flat.tolist() == [0, 1, 2, 0, 0, 1, 2]
    with pytest.raises(KeyError):
        index.rows(np.array([123]))


def test_registering_an_encoder_again_commits_nothing(store: Store) -> None:
    (info,) = store.encoders()
    before = store.versions([("encoders", None)])
    store.register_encoder(info)
    assert store.versions([("encoders", None)]) == before


def test_runs_decode_their_json(store: Store) -> None:
    run = RunRow(
        run_id="r1",
        task="zsl",
        encoder_id="colour_16",
        status="finished",
        seed=0,
        config={"epochs": 2},
        table_versions={"texts": 3},
        metrics={},
        checkpoint="runs/r1",
        created=datetime.now(UTC),
    )
    store.record_run(run)
    assert store.run("r1").config == {"epochs": 2}
    with pytest.raises(StoreError, match=r"no run 'r2' \(latest: r1\)"):
        store.run("r2")


def _append_overlapping(uri: str, barrier: "multiprocessing.synchronize.Barrier") -> None:
    store = Store.open(uri)
    barrier.wait(timeout=60)
    for start in range(0, 200, 20):
        store.append(
            "text_vectors", text_rows(list(range(start, start + 40))), encoder_id="colour_16"
        )


def test_two_writers_at_once_leave_no_duplicates(store: Store) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    writers = [
        context.Process(target=_append_overlapping, args=(store.uri, barrier)) for _ in range(2)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=120)
        assert writer.exitcode == 0
    ids = [
        i
        for b in store.scan("text_vectors", columns=["text_id"], encoder_id="colour_16")
        for i in map(str, b.column(0).to_pylist())
    ]
    assert sorted(ids) == [f"{i:032x}" for i in range(220)]


def test_optimize_merges_fragments_and_indexes(store: Store) -> None:
    for start in range(0, MIN_INDEXED_ROWS, MIN_INDEXED_ROWS // 4):
        ids = list(range(start, start + MIN_INDEXED_ROWS // 4))
        store.append("text_vectors", text_rows(ids), encoder_id="colour_16")
    reports = {report.table: report for report in optimize(store)}
    report = reports["text_vectors__colour_16"]
    assert (report.fragments_before, report.fragments_after) == (4, 1)
    assert report.indexed == TABLES["text_vectors"].indexed
    assert store.missing("text_vectors", [f"{7:032x}", "f" * 32], encoder_id="colour_16") == [
        "f" * 32
    ]
    assert optimize(store, only_due=True) == []
    again = {report.table: report for report in optimize(store)}
    assert again["text_vectors__colour_16"].fragments_after == 1


def test_a_store_without_permission_is_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with without_rights(), pytest.raises(StoreError, match=r"permission|cannot write"):
        Store.create(folder / "store", LABELS, default_encoder="packaged")


def test_a_store_path_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(StoreError, match="a file stands where a folder has to be"):
        Store.create(path, LABELS, default_encoder="packaged")


def test_schemas_folder_matches_the_contracts(tmp_path: Path) -> None:
    from taistore.contracts import contracts

    folder = Path(__file__).resolve().parents[2] / "schemas"
    written = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert written == contracts(), "run 'make schemas' and commit the result"


def test_the_tilde_means_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Store.create("~/store", LABELS, default_encoder="packaged")
    assert Store.open("~/store").uri == str(tmp_path / "store")


def test_optimize_keeps_the_versions_that_an_unfinished_run_reads(store: Store) -> None:
    store.append("text_vectors", text_rows([1]), encoder_id="colour_16")
    name = store.table_name("text_vectors", "colour_16")
    read = store.versions([("text_vectors", "colour_16")])
    run = RunRow(
        run_id="r1",
        task="zsl",
        encoder_id="colour_16",
        status="running",
        seed=0,
        config={},
        table_versions=read,
        metrics={},
        checkpoint="runs/r1",
        created=datetime.now(UTC),
    )
    store.record_run(run)
    store.append("text_vectors", text_rows([2]), encoder_id="colour_16")
    optimize(store, keep_days=0)
    pinned = store.dataset("text_vectors", "colour_16", version=read[name])
    assert pinned.count_rows() == 1
    store.record_run(dataclasses.replace(run, status="finished"))
    optimize(store, keep_days=0)
    assert len(store.dataset("text_vectors", "colour_16").versions()) == 1


def test_optimize_frees_what_many_commits_left_and_says_what_it_keeps(store: Store) -> None:
    for n in range(30):
        store.append("text_vectors", text_rows([n]), encoder_id="colour_16")
    folder = Path(store.uri) / "text_vectors__colour_16.lance"

    def size() -> int:
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    before = size()
    (kept,) = [report for report in optimize(store) if report.table.startswith("text_vectors")]
    assert kept.versions_kept >= 30
    assert kept.kept_for_runs == ()
    (freed,) = [r for r in optimize(store, keep_days=0) if r.table.startswith("text_vectors")]
    assert freed.versions_kept == 0
    assert freed.bytes_removed > 0
    assert size() < before / 5
