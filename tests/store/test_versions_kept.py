"""Versions that readers have open outlive ``optimize``, whatever their age; files in use stay."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lance
import pytest

from taistore.errors import StoreError
from taistore.labels import Label, LabelSet
from taistore.store import maintenance
from taistore.store.arrow import filter_expression
from taistore.store.maintenance import optimize
from taistore.store.rejects import Reject
from taistore.store.run_rows import RunRow
from taistore.store.store import Store
from taistore.store.verification.table_folder import TableFolder
from taistore.store.verification.verify_store import verify_store
from taistore.store.writes.commits import committed, rows_where
from taistore.store.writes.revision import Snapshot
from tests.faults.preloaded import CLOCK, preloaded

LABELS = LabelSet([Label("cat", "cat"), Label("dog", "dog")])

_OLD_STORE = """
import os, sys
from tests.store.test_versions_kept import LABELS, aside
from taistore.store.store import Store
os.environ["CLOCK_SHIFT"] = str(-3 * 24 * 3600)
store = Store.create(sys.argv[1], LABELS, default_encoder="packaged")
aside(store, "a.jpg")
aside(store, "b.jpg")
"""


def aside(store: Store, name: str) -> None:
    store.reject("job", [Reject(name, "corrupt", "")])


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One that was last written three days ago."""
    environment = preloaded(CLOCK, tmp_path)
    path = str(tmp_path / "store")
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", _OLD_STORE, path], env=environment, check=True)
    return Store.open(path)


def _uris(dataset: lance.LanceDataset) -> list[str]:
    return sorted(map(str, dataset.to_table(columns=["uri"]).column(0).to_pylist()))


def test_a_version_that_a_reader_has_open_survives_the_first_commit_in_days(store: Store) -> None:
    read = store.dataset("rejects")
    assert datetime.now() - read.versions()[-1]["timestamp"] > timedelta(days=2)
    reports = {report.table: report for report in optimize(store)}
    assert (reports["rejects"].fragments_before, reports["rejects"].fragments_after) == (2, 1)
    assert _uris(read) == ["a.jpg", "b.jpg"]
    assert reports["rejects"].versions_kept >= 1
    # One more commit, and still nobody knows how long the reader takes.
    aside(store, "c.jpg")
    optimize(store)
    assert _uris(read) == ["a.jpg", "b.jpg"]
    left = [version["version"] for version in store.dataset("rejects").versions()]
    assert read.version in left
    assert read.version - 1 not in left
    optimize(store, keep_days=0)
    assert len(store.dataset("rejects").versions()) == 1


def test_a_run_that_begins_while_a_table_is_compacted_keeps_its_version(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = store.versions([("rejects", None)])
    compact = maintenance._compact

    def beginning(store: Store, kind: str, encoder_id: str | None) -> None:
        compact(store, kind, encoder_id)
        if kind == "rejects":
            store.record_run(
                RunRow(
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
            )

    monkeypatch.setattr(maintenance, "_compact", beginning)
    reports = {report.table: report for report in optimize(store, keep_days=0)}
    assert reports["rejects"].kept_for_runs == ("r1",)
    assert _uris(store.dataset("rejects", version=read["rejects"])) == ["a.jpg", "b.jpg"]


def test_what_is_committed_while_a_table_is_verified_is_no_orphan(store: Store) -> None:
    folder = TableFolder(store.uri, "rejects", None)
    assert folder.versions[0] == 2
    aside(store, "c.jpg")
    assert folder.unnamed_files() == []
    assert verify_store(store.uri, repair=True, older_than=timedelta(0)).sound


def test_none_of_several_values_is_no_row(store: Store) -> None:
    dataset = store.dataset("rejects")
    assert len(rows_where(dataset, {"job": "job", "uri": []})) == 0
    assert dataset.to_table(filter=filter_expression({"uri": ()})).num_rows == 0
    store.clear_rejects("job", [])
    assert store.count("rejects") == 2


def test_a_commit_whose_answer_was_lost_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network disk may make a manifest and say, when it tries once more, that it is there."""
    rows = store.dataset("rejects").to_table(filter=filter_expression({"uri": "a.jpg"}))
    commit = lance.LanceDataset.commit

    def answer_lost(*given: Any, **options: Any) -> None:
        commit(*given, **options)
        raise OSError("Commit conflict for version 3: there already exists a manifest")

    monkeypatch.setattr(lance.LanceDataset, "commit", answer_lost)
    assert committed(store.dataset("rejects"), rows)
    monkeypatch.undo()
    assert _uris(store.dataset("rejects")) == ["a.jpg", "a.jpg", "b.jpg"]


def test_damage_that_is_met_while_rows_are_looked_up_is_told_as_such(store: Store) -> None:
    snapshot = Snapshot(store, "rejects")
    for path in Path(store.uri, "rejects.lance", "data").iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    again = Store.open(store.uri)
    for look in (
        lambda: snapshot.rows("uri", "a.jpg"),
        lambda: again.append("rejects", store_rows()),
        lambda: aside(again, "a.jpg"),
        lambda: again.remove("rejects", {"uri": "a.jpg"}),
    ):
        with pytest.raises(StoreError, match=r"cannot read table 'rejects': .*taistore verify"):
            look()


def store_rows() -> list[dict[str, object]]:
    row = {"job": "job", "uri": "a.jpg", "reason": "corrupt", "detail": "", "writer": None}
    return [{**row, "when": datetime.now(UTC)}]
