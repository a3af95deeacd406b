"""Stores in an object store: looked through, mended, tidied, and written by many at once."""

from pathlib import Path
from typing import Any

import lance
import pytest

from taistore.adapter.run_files.run_folder import run_folder
from taistore.adapter.run_files.run_removal import remove_runs
from taistore.images.ingest import ingest_images
from taistore.images.prune import prune
from taistore.images.sources.open_source import open_source
from taistore.project import Project
from taistore.scoring.ensembles.make_ensemble import make_ensemble
from taistore.scoring.loaded_run import open_run
from taistore.store.lance_errors import UnreachableError
from taistore.store.migrations import upgrade
from taistore.store.places import object_store, storage_options
from taistore.store.store import Store
from taistore.store.verification.finding import Finding
from tests.faults.colour_store import known_photos
from tests.faults.object_jobs import ENCODER, assert_one_line, command, fill, rows, started
from tests.faults.object_server import BUCKET, FaultProxy, everything
from tests.store.test_commits import STATES, four_processes, write_at_once
from tests.store.test_migrations import version_1

pytestmark = pytest.mark.usefixtures("here")


# --- verify -----------------------------------------------------------------------------------


def objects(uri: str, below: str) -> list[str]:
    """Paths from the store of all objects below one of its folders."""
    import obstore

    store = object_store(uri)
    return sorted(str(row["path"]) for part in obstore.list(store, below) for row in part)


def finding(uri: str, **options: Any) -> Finding:
    """The one error that there is."""
    [found] = [f for f in Project.verify(uri, **options).findings if f.severity == "error"]
    return found


@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_an_object_that_is_damaged_is_named(uri: str, damage: str) -> None:
    import obstore

    fill(uri, count=40)
    fill(uri, count=80)
    name = objects(uri, "texts.lance/data")[-1]
    assert Project.verify(uri).findings == ()
    size = len(bytes(obstore.get(object_store(uri), name).bytes()))
    if damage == "deleted":
        obstore.delete(object_store(uri), name)
    else:
        obstore.put(object_store(uri), name, b"x" * (size - 7))
    found = finding(uri)
    assert (found.code, found.table) == ("damaged-file", "texts")
    told = "is missing" if damage == "deleted" else f"has {size - 7:,} bytes, not the {size:,}"
    assert f"{uri}/{name} {told}" in found.what


def test_a_damaged_manifest_is_named_and_the_table_led_back(uri: str) -> None:
    import obstore

    fill(uri, count=40)
    first = rows(Store.open(uri))["texts"]
    fill(uri, count=80)
    newest = objects(uri, "texts.lance/_versions")[0]
    obstore.put(object_store(uri), newest, b"not a manifest of anything")
    found = finding(uri)
    assert (found.code, found.table) == ("damaged-manifest", "texts")
    assert newest in found.what
    assert "restore=texts" in found.remedy
    Project.verify(uri, restore=["texts"])
    assert rows(Store.open(uri))["texts"] == first
    assert rows(fill(uri, count=80))["texts"] != first


def test_a_doubled_key_is_found_and_mended(uri: str) -> None:
    store = fill(uri, count=20)
    before = rows(store)
    table = lance.dataset(f"{uri}/texts.lance", storage_options=storage_options(uri))
    again = table.to_table(limit=1)
    lance.write_dataset(again, table, mode="append", storage_options=storage_options(uri))
    assert finding(uri).code == "doubled-key"
    assert finding(uri, repair=True).repaired
    assert Project.verify(uri).findings == ()
    assert rows(Store.open(uri)) == before


@pytest.mark.parametrize("name", ["card.json", "adapter.safetensors", ""])
def test_a_run_whose_objects_are_gone_is_named(uri: str, name: str) -> None:
    import obstore

    store = fill(uri)
    run_id = started(store).run_id
    assert Project.verify(uri).findings == ()
    gone = [f"runs/{run_id}/{name}"] if name else objects(uri, f"runs/{run_id}")
    obstore.delete(object_store(uri), gone)
    assert (finding(uri).code, finding(uri).table) == ("damaged-run", run_id)


def test_verify_leaves_the_folder_of_an_unfinished_run_alone(uri: str) -> None:
    from dataclasses import replace

    store = fill(uri)
    result = started(store)
    store.record_run(replace(store.run(result.run_id), status="running"))
    work = result.checkpoint / "training-state.safetensors.part"
    (result.checkpoint / "adapter.safetensors").write_bytes(b"newer")
    work.write_bytes(b"under way")
    Project.verify(uri)
    assert work.read_bytes() == b"under way"
    assert (result.checkpoint / "adapter.safetensors").read_bytes() == b"newer"


def test_a_server_that_is_ill_is_not_taken_for_damage(
    here: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(uri, count=20)

    def ill(method: str, path: str) -> Any:
        return "500" if "/texts.lance/data/" in path else None

    with FaultProxy(here, ill) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        found = command("verify", "--store", uri)
    assert found.exit_code == 1
    assert not found.stdout
    assert_one_line(found, "does not answer", "AWS_ENDPOINT_URL")


def test_a_member_that_cannot_be_reached_is_not_taken_for_a_damaged_one(
    here: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(uri)
    ingest_images(store, ENCODER, open_source(known_photos(tmp_path / "photos"), store.labels))
    members = [started(store).run_id, started(store).run_id]
    made = make_ensemble(store, members).run_id

    def ill(method: str, path: str) -> Any:
        return "500" if f"/runs/{members[1]}/" in path else None

    monkeypatch.setenv("TAISTORE_RUNS", str(tmp_path / "other"))
    with FaultProxy(here, ill) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        with pytest.raises(UnreachableError, match="does not answer"):
            open_run(store, made)


# --- upkeep -----------------------------------------------------------------------------------


def test_another_machine_removes_a_run(
    here: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(uri)
    kept, gone = started(store).run_id, started(store).run_id
    size = sum(len(v) for k, v in everything(here).items() if gone in k)
    run_folder(store, gone)
    monkeypatch.setenv("TAISTORE_RUNS", str(tmp_path / "other"))
    [removed] = remove_runs(store, [gone])
    assert (removed.bytes_freed, removed.folder_left) == (size, None)
    assert [run.run_id for run in store.runs()] == [kept]
    assert not [name for name in everything(here) if gone in name]
    monkeypatch.setenv("TAISTORE_RUNS", str(tmp_path / "machine"))
    assert Project.verify(uri).findings == ()


def test_photos_that_are_gone_leave_the_store(uri: str, tmp_path: Path) -> None:
    store = fill(uri, count=20)
    manifest = known_photos(tmp_path)
    ingest_images(store, ENCODER, open_source(manifest, store.labels), regions=2)
    count = store.count("images")
    (tmp_path / "photos" / "000.png").unlink()
    assert prune(store).gone == 1
    assert store.count("images") == count
    assert prune(store, apply=True).vectors == 2
    assert store.count("images") == count - 1
    assert Project.verify(uri).findings == ()


def test_a_store_of_version_1_is_brought_up_to_date(uri: str, tmp_path: Path) -> None:
    import obstore

    local = version_1(tmp_path / "old")
    for path in local.rglob("*"):
        if path.is_file():
            obstore.put(object_store(uri), str(path.relative_to(local)), path)
    assert upgrade(uri).steps == upgrade(local).steps
    assert rows(Store.open(uri)) == rows(Store.open(local))
    assert Store.open(uri).version == Store.open(local).version


# --- many at once -----------------------------------------------------------------------------


def test_equal_keys_from_four_processes_come_once(uri: str) -> None:
    with four_processes() as pool:
        for state in STATES:
            write_at_once(f"{uri}-{state.replace(' ', '-')}", pool, state)


def test_verify_refuses_a_uri_with_a_secret() -> None:
    found = command("verify", "--store", f"s3://someone:hidden@{BUCKET}/shop")
    assert found.exit_code == 1
    assert_one_line(found, "AWS_SECRET_ACCESS_KEY")
    assert "hidden" not in found.output
