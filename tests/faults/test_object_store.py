"""Stores in an object store: a real S3 server on loopback, undisturbed, failing, and gone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taistore.adapter.config import Task
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_files.file_names import STATE, WEIGHTS
from taistore.adapter.run_files.run_folder import run_folder
from taistore.adapter.run_files.run_lock import liveness
from taistore.adapter.run_files.run_removal import remove_runs
from taistore.adapter.train import resume
from taistore.errors import StoreError, TrainingError
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.scoring.loaded_run import open_run
from taistore.store.object_folder import ObjectFolder
from taistore.store.places import cache_folder, checked_uri
from taistore.store.store import Store
from taistore_cli.demo_photos import demo_labels, write_demo_photos
from tests.fakes import COLOURS
from tests.faults.colour_store import known_photos
from tests.faults.object_jobs import (
    ENCODER,
    LABELS,
    assert_one_line,
    check_equal,
    command,
    disturbed,
    done,
    fill,
    started,
)
from tests.faults.object_server import (
    BUCKET,
    FAULTS,
    SECRET,
    Fault,
    FaultProxy,
    Seeded,
    everything,
)

pytestmark = pytest.mark.usefixtures("here")


# --- the main job -----------------------------------------------------------------------------


def test_the_whole_main_job(here: str, uri: str, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(demo_labels()) + "\n", encoding="utf-8")
    manifest = write_demo_photos(tmp_path, pairs=2, fours=1)
    captions = tmp_path / "captions.txt"
    captions.write_text("a cat beside a cup of coffee\na rocket\n", encoding="utf-8")
    at = ("--store", uri)
    done("init", labels, "--encoder", "packaged:lite0@224", *at)
    seen = done("ingest-images", manifest, "--regions", "2", "--split", "test", *at)["seen"]
    done("ingest-texts", captions, *at)
    texts = done("generate-texts", "--count", "60", *at)
    zsl = done("train", "--epochs", "2", *at)
    pll = done("train", "--task", "pll", "--split", "all", "--epochs", "2", *at)
    members = [zsl["run_id"], pll["run_id"]]
    assert done("train", "--resume", members[0], *at)["run_id"] == members[0]
    fsl = done("train", "--task", "fsl", "--shots", "1", "--split", "all", "--epochs", "1", *at)
    done("centroids", "--split", "test", *at)
    joint = done("ensemble", *members, *at)["run_id"]
    assert done("evaluate", joint, "--split", "test", *at)["images"] == seen
    done("compare", *members, "--split", "test", "--bootstrap", "100", *at)
    for number, source in enumerate(([], [tmp_path / "photos"])):
        out = ("--out", tmp_path / f"tags{number}.csv", "--html", tmp_path / f"{number}.html")
        assert done("score", joint, *source, *out, *at)["images"] == seen
    assert done("runs", "rm", fsl["run_id"], *at)["removed"][0]["bytes_freed"] > 0
    assert len(done("runs", *at)["runs"]) == 3
    done("optimize", "--keep-days", "0", *at)
    done("upgrade", *at)
    assert done("verify", *at)["findings"] == []
    done("doctor")
    shown = done("show", *at)
    assert shown["tables"]["images"] == seen
    assert shown["tables"]["texts"] >= texts["written"]
    # Every run is kept in the store, its row names a place relative to it.
    assert {row["checkpoint"] for row in shown["runs"]} == {
        f"runs/{row['run_id']}" for row in shown["runs"]
    }
    objects = everything(here)
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    for run_id in members:
        for name in ("card.json", "adapter.safetensors", "prompts.safetensors"):
            assert objects[f"{prefix}/runs/{run_id}/{name}"]
    assert objects[f"{prefix}/runs/{pll['run_id']}/known-labels.parquet"]
    assert objects[f"{prefix}/runs/{joint}/card.json"]
    assert not [name for name in objects if "probe" in name or ".kept" in name]
    assert not [name for name in objects if fsl["run_id"] in name]


@pytest.fixture
def vectors_of_labels(tmp_path: Path) -> Path:
    import numpy as np

    path = tmp_path / "vectors.npy"
    np.save(path, ENCODER.encode_texts(list(COLOURS)[:6]))
    path.with_suffix(".txt").write_text("\n".join(list(COLOURS)[:6]) + "\n", encoding="utf-8")
    return path


def test_vectors_made_elsewhere(uri: str, vectors_of_labels: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS.keys) + "\n", encoding="utf-8")
    at = ("--store", uri)
    done("init", labels, "--encoder", "vectors:mine", *at)
    names = vectors_of_labels.with_suffix(".txt")
    arguments = (vectors_of_labels, "--kind", "text", "--ids", names, "--name", "mine", *at)
    done("ingest-vectors", *arguments)
    done("ingest-vectors", *arguments)
    assert done("show", *at)["encoders"][0]["text_vectors"] == 6


# --- runs -------------------------------------------------------------------------------------


def test_another_machine_reads_a_run(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(uri)
    result = started(store)
    monkeypatch.setenv("TAISTORE_RUNS", str(tmp_path / "other"))
    folder = run_folder(store, result.run_id)
    assert folder != result.checkpoint
    digest = load_adapter(folder).card.weights_digest
    assert digest == load_adapter(result.checkpoint).card.weights_digest
    # A copy that was damaged is fetched again, one that is whole is not.
    before = (folder / "card.json").stat().st_mtime_ns
    (folder / "adapter.safetensors").write_bytes(b"damaged")
    assert load_adapter(run_folder(store, result.run_id)).card.weights_digest == digest
    assert (folder / "card.json").stat().st_mtime_ns == before
    assert not list(folder.glob("*.part"))


_TRAIN = """
import sys
from taistore.store.store import Store
from tests.faults.object_jobs import started
from tests.killing import step
import taistore.adapter.loop as loop
def told(self, number, batches, do=loop.TrainingLoop._step):
    step()
    return do(self, number, batches)
loop.TrainingLoop._step = told
started(Store.open(sys.argv[1]), sys.argv[2], checkpoint_seconds=0.0)
"""


@pytest.mark.parametrize("task", ["zsl", "fsl", "pll"])
def test_another_machine_goes_on_after_a_kill(
    uri: str, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(uri)
    ingest_images(store, ENCODER, open_source(known_photos(tmp_path), store.labels), split="train")
    whole = load_adapter(started(store, task).checkpoint).card.weights_digest
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), str(root / "cli")])
    with subprocess.Popen(
        [sys.executable, "-c", _TRAIN, uri, task],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"..")
        process.stdin.flush()
        # Before the third step it waits: two are done, and their state is kept.
        assert process.stdout.read(3) == b"..."
        process.kill()
    [row] = [run for run in store.runs() if run.status != "finished"]
    monkeypatch.setenv("TAISTORE_RUNS", str(tmp_path / "other"))
    assert not cache_folder(uri, row.run_id).exists()
    assert liveness(store, row).status == "unknown"
    result = resume(store, "latest")
    assert result.run_id == row.run_id
    assert load_adapter(result.checkpoint).card.weights_digest == whole
    monkeypatch.setenv("TAISTORE_RUNS", str(tmp_path / "third"))
    assert open_run(store, row.run_id).weights_digest == whole


def test_a_run_works_in_a_named_folder_and_is_kept_in_the_store(uri: str, tmp_path: Path) -> None:
    store = fill(uri)
    result = started(store, out=tmp_path / "work")
    assert result.checkpoint == tmp_path / "work"
    assert store.run(result.run_id).checkpoint == f"runs/{result.run_id}"
    assert load_adapter(run_folder(store, result.run_id)).card.run_id == result.run_id


def test_a_run_in_a_named_folder_is_seen_to_be_trained(uri: str, tmp_path: Path) -> None:
    store = fill(uri)
    seen: list[str] = []

    def look(run_id: str) -> None:
        seen.append(liveness(store, store.run(run_id)).status)
        for meddle in (lambda: resume(store, run_id), lambda: remove_runs(store, [run_id])):
            with pytest.raises(TrainingError, match="is being trained"):
                meddle()

    result = started(store, out=tmp_path / "work", on_start=look)
    assert seen == ["running"]
    assert store.run(result.run_id).status == "finished"


def test_a_run_that_is_trained_here_is_read_where_it_works(uri: str) -> None:
    store = fill(uri)

    def look(run_id: str) -> None:
        folder = cache_folder(uri, run_id)
        state = (folder / STATE).read_bytes()
        (folder / STATE).write_bytes(b"newer than what is kept")
        (folder / WEIGHTS).write_bytes(b"not kept yet")
        assert run_folder(store, run_id) == folder
        assert (folder / STATE).read_bytes() == b"newer than what is kept"
        assert (folder / WEIGHTS).read_bytes() == b"not kept yet"
        (folder / STATE).write_bytes(state)
        (folder / WEIGHTS).unlink()

    result = started(store, on_start=look)
    # With nobody at work there, what is kept counts.
    (result.checkpoint / STATE).write_bytes(b"changed")
    (result.checkpoint / WEIGHTS).write_bytes(b"changed")
    assert load_adapter(run_folder(store, result.run_id)).card.run_id == result.run_id


@pytest.mark.parametrize("option", ["out", "html"])
def test_outputs_are_not_written_into_a_folder_that_is_named_like_a_uri(
    uri: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(uri)
    at = ("--store", uri)
    elsewhere = f"s3://{BUCKET}/elsewhere.html"
    if option == "out":
        found = command("train", "--out", f"s3://{BUCKET}/run", *at)
        assert found.exit_code == 1
        assert_one_line(found, "--out")
        started(Store.open(uri))
        found = command("score", "latest", "--out", f"s3://{BUCKET}/tags.csv", *at)
    else:
        started(Store.open(uri))
        found = command("score", "latest", "--out", "t.csv", "--html", elsewhere, *at)
    assert found.exit_code == 1
    assert_one_line(found, f"--{option}")
    assert not list(tmp_path.glob("s3:*"))


# --- credentials ------------------------------------------------------------------------------

BAD_URIS = (
    "s3://someone:{}@bucket/shop",
    "s3://{}@bucket/shop",
    "s3://bucket/shop?aws_secret_access_key={}",
    "s3://bucket/shop#{}",
)


@pytest.mark.parametrize("bad", BAD_URIS)
def test_a_uri_with_a_secret_is_refused_and_never_shown(bad: str, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n", encoding="utf-8")
    for arguments in (("init", labels, "--encoder", "vectors:mine"), ("show",), ("optimize",)):
        found = command(*arguments, "--store", bad.format(SECRET))
        assert found.exit_code == 1
        assert_one_line(found, "AWS_SECRET_ACCESS_KEY")
        assert SECRET not in found.output
    with pytest.raises(StoreError) as raised:
        checked_uri(bad.format(SECRET))
    assert SECRET not in str(raised.value)


def test_a_secret_is_nowhere(
    here: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(uri)
    result = started(store)
    output = command("show", "--store", uri).output
    output += command("train", "--epochs", "1", "--store", uri, "--debug").output
    for schedule in (lambda *_: "500", lambda *_: "reset"):
        with FaultProxy(here, schedule) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
            output += command("show", "--store", uri).output
        monkeypatch.setenv("AWS_ENDPOINT_URL", here)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    kept = [path.read_bytes() for path in files] + list(everything(here).values())
    assert result.checkpoint / "card.json" in files
    assert len(kept) > 20
    assert SECRET not in output
    assert not [content for content in kept if SECRET.encode() in content]


# --- what a server must do, and what it may do ------------------------------------------------


def test_a_server_without_conditional_put_is_refused(
    here: str, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(here, lambda *_: "deaf") as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
        with pytest.raises(StoreError, match="does not honour conditional put"):
            Store.create(uri, LABELS, default_encoder="vectors:mine")
    prefix = uri.removeprefix(f"s3://{BUCKET}/")
    assert not [name for name in everything(here) if name.startswith(prefix)]


def test_without_a_server_there_is_one_line_in_bounded_time(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(uri)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n", encoding="utf-8")
    began = time.monotonic()
    for arguments in (("show",), ("init", labels, "--encoder", "vectors:mine")):
        found = command(*arguments, "--store", store.uri)
        assert found.exit_code == 1
        assert_one_line(found, "does not answer", "AWS_ENDPOINT_URL")
    assert time.monotonic() - began < 60


@pytest.fixture
def undisturbed(uri: str) -> Store:
    store = fill(f"{uri}-undisturbed")
    started(store)
    return store


@pytest.mark.parametrize("fault", FAULTS)
def test_a_job_ends_the_same_whatever_the_server_does(
    here: str, uri: str, fault: Fault, undisturbed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Seeded(3, share=0.06, most=8, faults=(fault,))
    disturbed(here, uri, schedule, monkeypatch)
    assert schedule.done[fault] >= 5
    check_equal(uri, undisturbed)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(12))
def test_a_job_ends_the_same_in_any_mixture(
    here: str, uri: str, seed: int, undisturbed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Seeded(seed, share=0.08 + 0.02 * (seed % 4), most=40)
    disturbed(here, uri, schedule, monkeypatch)
    assert sum(schedule.done.values()) >= 10
    check_equal(uri, undisturbed)


def test_a_file_that_comes_in_part_is_not_taken_for_whole(
    here: str, uri: str, tmp_path: Path
) -> None:
    folder = tmp_path / "from"
    folder.mkdir()
    (folder / "card.json").write_bytes(b"x" * 10_000)
    place = ObjectFolder(f"{uri}/runs/one")
    place.keep(folder, ["card.json"])
    with FaultProxy(here, lambda _, path: "cut" if path.endswith("card.json") else None) as proxy:
        os.environ["AWS_ENDPOINT_URL"] = proxy.address
        with pytest.raises(StoreError, match="does not answer"):
            place.fetch(tmp_path / "to")
    os.environ["AWS_ENDPOINT_URL"] = here
    assert not list((tmp_path / "to").iterdir())
    assert (place.fetch(tmp_path / "to") / "card.json").stat().st_size == 10_000
