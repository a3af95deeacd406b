"""SIGINT, SIGTERM and SIGHUP at several moments of every long job, and the same job run again."""

import json
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import taistore
from taistore.adapter.run_files.file_names import WEIGHTS
from taistore.adapter.run_files.run_folder import folder_of
from taistore.adapter.run_files.training_state import read_position
from taistore.labels import Label, LabelSet
from taistore.run import Run
from taistore.store.migrations import _set_version
from taistore.store.store import Store
from taistore_cli.main import main
from tests.fakes import COLOURS, colour_image
from tests.faults.server import WORDS, Exchange, FaultServer, Json, echo, stall
from tests.faults.stop_me import add_encoder
from tests.killing import ROOT, Ended, run_and_signal

NAMES = tuple(COLOURS)[:6]
PHOTOS = 24
COMMIT = "taistore.store.store:Store.append"
STEP = "taistore.adapter.loop:TrainingLoop._step"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, captions, vectors and a store of texts and images, to be copied."""
    add_encoder()
    folder = tmp_path_factory.mktemp("made")
    (folder / "photos").mkdir()
    known = []
    for i in range(PHOTOS):
        pair = NAMES[i % 6], NAMES[(i * 5 + 1 + i // 6) % 6]
        colour_image(*pair, size=(40 + i, 30)).save(folder / "photos" / f"{i:02}.png")
        known.append(json.dumps({"image": f"photos/{i:02}.png", "labels": sorted(set(pair))}))
    (folder / "known.jsonl").write_text("\n".join(known), encoding="utf-8")
    captions = [f"a {NAMES[i % 6]} thing beside number {i}" for i in range(2500)]
    pictures = [{"text": captions[i], "image": f"photos/{i:02}.png"} for i in range(PHOTOS)]
    made_of = "\n".join(map(json.dumps, pictures))
    (folder / "made.jsonl").write_text(made_of, encoding="utf-8")
    (folder / "captions.txt").write_text("\n".join(captions), encoding="utf-8")
    random = np.random.default_rng(1)
    np.save(folder / "v.npy", random.standard_normal((2500, 8)).astype(np.float32))
    rows = [{"id": text, "labels": [NAMES[i % 6]]} for i, text in enumerate(captions)]
    ids = "\n".join(json.dumps(row) for row in rows)
    (folder / "v.jsonl").write_text(ids, encoding="utf-8")
    labels = LabelSet(Label(name, name) for name in NAMES)
    Store.create(folder / "empty", labels, default_encoder="colour")
    shutil.copytree(folder / "empty", folder / "filled")
    run(folder, "filled", "generate-texts", "--count", "300")
    run(folder, "filled", "ingest-images", "known.jsonl", "--regions", "2")
    shutil.copytree(folder / "filled", folder / "trained")
    shutil.copytree(folder / "empty", folder / "captioned")
    run(folder, "captioned", "ingest-texts", "captions.txt")
    for seed in ("1", "2"):
        run(folder, "trained", "train", "--epochs", "1", "--seed", seed)
    shutil.copytree(folder / "filled", folder / "old")
    # The steps of an upgrade are safe to repeat, on a store of this version too.
    _set_version(Store.open(folder / "old"), 1)
    return folder


def run(folder: Path, store: str, *command: str) -> dict[str, Any]:
    """A command with --json in this process, its paths in ``folder``."""
    result = CliRunner().invoke(main, [*_placed(folder, store, command), "--json"])
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def _placed(folder: Path, store: str, command: Sequence[str]) -> list[str]:
    paths = {path.name: str(path) for path in folder.iterdir()}
    out = str(folder / f"{store}.csv")
    arguments = [out if word == "OUT" else paths.get(word, word) for word in command]
    return [*arguments, "--store", str(folder / store)]


def content(store: Path) -> dict[str, list[Any]]:
    """Every row of every table but for times; runs are looked at by their weights."""
    tables: dict[str, list[Any]] = {}
    opened = Store.open(store)
    for name in opened.table_names():
        kind, _, encoder_id = name.partition("__")
        if kind == "runs":
            continue
        batches = opened.scan(kind, encoder_id=encoder_id or None)
        rows = [row for batch in batches for row in batch.to_pylist()]
        for row in rows:
            row.pop("when", None)
        tables[name] = sorted(rows, key=repr)
    return tables


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command, the store that it begins with, where it waits, and in which of these steps."""

    command: tuple[str, ...]
    begins: str
    place: str
    steps: tuple[int, ...]


JOBS = {
    "encoding images": Job(
        command=("ingest-images", "photos", "--batch-size", "2"),
        begins="empty",
        place="tests.fakes:ColourEncoder.encode_images",
        steps=(5, 1, 12),
    ),
    "decoding images": Job(
        command=("ingest-images", "photos", "--batch-size", "2"),
        begins="empty",
        place="taistore.images.pipeline:decode_image",
        steps=(13, 1, 24),
    ),
    "committing images": Job(
        command=("ingest-images", "photos", "--batch-size", "2"),
        begins="empty",
        place=COMMIT,
        steps=(1, 1, 1),
    ),
    "own captions": Job(
        command=("ingest-texts", "captions.txt"),
        begins="empty",
        place=COMMIT,
        steps=(4, 2, 6),
    ),
    "templates": Job(
        command=("generate-texts", "--count", "9000"),
        begins="empty",
        place="tests.fakes:ColourEncoder.encode_texts",
        steps=(2, 1, 3),
    ),
    "text vectors": Job(
        command=("ingest-vectors", "v.npy", "--ids", "v.jsonl", "--kind", "text", "--name", "v"),
        begins="empty",
        place=COMMIT,
        steps=(3, 1, 2),
    ),
    "image vectors": Job(
        command=("ingest-vectors", "v.npy", "--ids", "v.jsonl", "--kind", "image", "--name", "v"),
        begins="empty",
        place=COMMIT,
        steps=(2, 1, 2),
    ),
    "images of texts": Job(
        command=(
            *("generate-images", "--writer", "folder", "--images", "made.jsonl"),
            *("--batch-size", "2", "--regions", "2"),
        ),
        begins="captioned",
        place="tests.fakes:ColourEncoder.encode_images",
        steps=(4, 1, 9),
    ),
    "scoring photos": Job(
        command=("score", "latest", "photos", "--out", "OUT", "--batch-size", "4"),
        begins="trained",
        place="tests.fakes:ColourEncoder.encode_images",
        steps=(3, 1, 6),
    ),
    "scoring the store": Job(
        command=("score", "latest", "--out", "OUT"),
        begins="trained",
        place="taistore.scoring.image_batches:tag_rows",
        steps=(1, 1, 1),
    ),
    "optimize": Job(
        command=("optimize",),
        begins="trained",
        place="taistore.store.maintenance:_optimize_table",
        steps=(2, 1, 4),
    ),
    "upgrade": Job(
        command=("upgrade",),
        begins="old",
        place="taistore.store.migrations:_set_version",
        steps=(2, 1, 3),
    ),
}
"""The first of ``steps`` is tried in every run of the tests, the others in the long form."""


@pytest.mark.parametrize("place", sorted({*(job.place for job in JOBS.values()), STEP}))
def test_the_place_where_a_job_waits_is_there(place: str) -> None:
    """Most of them are used in the long form alone, where a name that has gone is long unseen."""
    assert callable(pkgutil.resolve_name(place))


def stop(
    made: Path, tmp_path: Path, job: Job, *send: Signals, step: int, store: str = "stopped"
) -> Ended:
    """The job in a copy of its store, stopped in that step."""
    folder = _copy(made, tmp_path, job.begins, store)
    arguments = _placed(folder, store, job.command)
    return run_and_signal(
        "tests.faults.stop_me", job.place, *arguments, cwd=tmp_path, steps=step, send=send
    )


def _copy(made: Path, tmp_path: Path, begins: str, *stores: str) -> Path:
    for name in ("photos", "captions.txt", "made.jsonl", "v.npy", "v.jsonl"):
        if not (tmp_path / name).exists():
            (tmp_path / name).symlink_to(made / name)
    for store in stores:
        shutil.copytree(made / begins, tmp_path / store)
    return tmp_path


def go_on(line: str) -> list[str]:
    """The command that a line tells to go on with."""
    return shlex.split(line.partition("; to go on: taistore ")[2])


def _check(made: Path, tmp_path: Path, name: str, number: Signals, step: int) -> None:
    job = JOBS[name]
    ended = stop(made, tmp_path, job, number, step=step)
    assert ended.code == 128 + number, ended.stderr
    said = rf"taistore: stopped by {number.name}( after [\d,]+ (of [\d,]+ )?\w+)?: what is done is "
    assert re.match(rf"{said}kept; to go on: taistore ", ended.line), ended.line
    assert go_on(ended.line) == _placed(tmp_path, "stopped", job.command)
    stopped = CliRunner().invoke(main, go_on(ended.line))
    assert stopped.exit_code == 0, stopped.output
    _copy(made, tmp_path, job.begins, "calm")
    run(tmp_path, "calm", *job.command)
    assert content(tmp_path / "stopped") == content(tmp_path / "calm")


@pytest.mark.parametrize(
    ("name", "number"),
    [("encoding images", SIGTERM), ("templates", SIGHUP), ("images of texts", SIGTERM)],
)
def test_a_stopped_job_goes_on(made: Path, tmp_path: Path, name: str, number: Signals) -> None:
    _check(made, tmp_path, name, number, JOBS[name].steps[0])


@pytest.mark.faults
@pytest.mark.parametrize(("moment", "number"), [(0, SIGTERM), (1, SIGHUP), (2, SIGINT)])
@pytest.mark.parametrize("name", sorted(JOBS))
def test_every_job_with_every_signal(
    made: Path, tmp_path: Path, name: str, moment: int, number: Signals
) -> None:
    _check(made, tmp_path, name, number, JOBS[name].steps[moment])


def test_the_batch_under_way_is_kept_and_none_is_begun(made: Path, tmp_path: Path) -> None:
    ended = stop(made, tmp_path, JOBS["encoding images"], SIGTERM, step=5)
    assert ended.after == 0
    assert "after 10 of 24 images" in ended.line
    assert Store.open(tmp_path / "stopped").count("images") == 10
    assert CliRunner().invoke(main, go_on(ended.line)).exit_code == 0
    _copy(made, tmp_path, "empty", "calm")
    run(tmp_path, "calm", *JOBS["encoding images"].command)
    assert content(tmp_path / "stopped") == content(tmp_path / "calm")


def test_a_second_signal_ends_it_at_once(made: Path, tmp_path: Path) -> None:
    job = JOBS["encoding images"]
    ended = stop(made, tmp_path, job, SIGTERM, SIGINT, step=5)
    assert ended.code == -SIGINT
    assert ended.stderr.count("taistore: ") == 0
    assert Store.open(tmp_path / "stopped").count("images") == 0
    run(tmp_path, "stopped", *job.command)
    _copy(made, tmp_path, "empty", "calm")
    run(tmp_path, "calm", *job.command)
    assert content(tmp_path / "stopped") == content(tmp_path / "calm")


TRAIN = ("train", "--epochs", "4")


def _train(made: Path, tmp_path: Path, options: tuple[str, ...], number: Signals, at: int) -> None:
    job = Job(command=(*TRAIN, *options), begins="filled", place=STEP, steps=())
    ended = stop(made, tmp_path, job, number, step=at)
    assert ended.code == 128 + number, ended.stderr
    assert ended.after == 0
    store = Store.open(tmp_path / "stopped")
    (row,) = store.runs()
    assert row.status == "stopped"
    assert read_position(folder_of(store, row)).step == at
    assert f"after {at} of " in ended.line
    assert f": run {row.run_id} is saved; to go on: taistore train --resume {row.run_id}" in (
        ended.line
    )
    went_on = CliRunner().invoke(main, [*go_on(ended.line), "--json"])
    assert went_on.exit_code == 0, went_on.output
    resumed = Path(json.loads(went_on.stdout)["checkpoint"])
    _copy(made, tmp_path, "filled", "calm")
    undisturbed = Path(run(tmp_path, "calm", *job.command)["checkpoint"])
    assert (resumed / WEIGHTS).read_bytes() == (undisturbed / WEIGHTS).read_bytes()
    assert store.run(row.run_id).status == "finished"
    assert {p.name for p in resumed.iterdir()} == {p.name for p in undisturbed.iterdir()}


def test_a_stopped_training_goes_on_to_the_same_weights(made: Path, tmp_path: Path) -> None:
    _train(made, tmp_path, (), SIGTERM, 5)


@pytest.mark.faults
@pytest.mark.parametrize(("at", "number"), [(1, SIGINT), (4, SIGHUP), (8, SIGTERM)])
@pytest.mark.parametrize(
    "options",
    [
        ("--task", "zsl", "--shift", "none"),
        ("--task", "fsl", "--shots", "2", "--split", "test"),
        ("--task", "pll", "--split", "test"),
    ],
    ids=["zsl", "fsl", "pll"],
)
def test_every_task_with_every_signal(
    made: Path, tmp_path: Path, options: tuple[str, ...], at: int, number: Signals
) -> None:
    _train(made, tmp_path, options, number, at)


@pytest.mark.faults
@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
def test_what_reads_keeps_nothing_and_says_so(made: Path, tmp_path: Path, number: Signals) -> None:
    job = Job(
        command=("centroids", "--split", "test"),
        begins="filled",
        place="taistore.geometry.centroids:label_means",
        steps=(),
    )
    ended = stop(made, tmp_path, job, number, step=1)
    assert ended.code == 128 + number
    assert ": nothing was kept; to run it again: taistore centroids --split test " in ended.line


@pytest.mark.faults
@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("place", ["save_ensemble", "stored_batches"])
def test_an_ensemble_is_made_or_not(
    made: Path, tmp_path: Path, number: Signals, place: str
) -> None:
    runs = [row.run_id for row in Store.open(made / "trained").runs()]
    job = Job(
        command=("ensemble", *runs),
        begins="trained",
        place=f"taistore.scoring.ensembles.make_ensemble:{place}",
        steps=(),
    )
    ended = stop(made, tmp_path, job, number, step=1)
    assert ended.code == 128 + number
    store = Store.open(tmp_path / "stopped")
    made_runs = [row for row in store.runs() if row.run_id not in runs]
    folders = {path.name for path in (tmp_path / "stopped" / "runs").iterdir()}
    assert folders == {row.run_id for row in store.runs()}
    if place == "stored_batches":
        assert not made_runs
        assert ": nothing was kept; to run it again: taistore ensemble " in ended.line
    else:
        (row,) = made_runs
        assert f": run {row.run_id} is made; to go on: taistore evaluate {row.run_id} " in (
            ended.line
        )
        again = Run(taistore.open(tmp_path / "stopped"), row).evaluate(split="test")
        assert again.images == 0 or again.ladder


def _answer(body: Json) -> str:
    """A caption with the labels of the question and some words that its seed decides."""
    named = [f"a {name} box" for name in NAMES if any(name in str(m) for m in body["messages"])]
    seed = int(body["seed"])
    where = " ".join(WORDS[seed // 7**n % len(WORDS)] for n in range(4))
    return f"There is {' and '.join(named)} near a {where} wall."


def _written(store: Path) -> dict[str, str]:
    rows = [row for batch in Store.open(store).scan("texts") for row in batch.to_pylist()]
    return {row["request_id"]: row["text"] for row in rows}


@pytest.mark.parametrize("silent", [False, True], ids=["answering", "silent"])
def test_a_model_that_writes(made: Path, tmp_path: Path, silent: bool) -> None:
    """What was answered is kept, and nobody waits for a server that says nothing."""
    folder = _copy(made, tmp_path, "empty", "stopped", "calm")
    good = echo(answer=_answer)
    stopped = threading.Event()
    process: list[subprocess.Popen[bytes]] = []

    def behave(exchange: Exchange) -> None:
        if exchange.number == 30 and not stopped.is_set():
            stopped.set()
            process[0].send_signal(SIGTERM)
        (stall if silent and stopped.is_set() else good)(exchange)

    with FaultServer(behave) as server:
        to_server = ("--writer", "openai", "--base-url", server.url, "--concurrency", "3")
        command = ("generate-texts", "--count", "90", *to_server)
        place = "taistore.texts.outcomes:Outcomes.flush"
        arguments = [sys.executable, "-m", "tests.faults.stop_me", place]
        with subprocess.Popen(
            [*arguments, *_placed(folder, "stopped", command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])},
            cwd=tmp_path,
        ) as started:
            process.append(started)
            _, errors = started.communicate(timeout=150)
        assert started.returncode == 128 + SIGTERM, errors
        kept = _written(folder / "stopped")
        assert len(kept) > 15, errors
        asked = len(server.requests)
        server.behaviour = good
        run(folder, "stopped", *command)
        # None that was answered is paid for twice: those under way were lost.
        total = len(server.requests)
        run(folder, "calm", *command)
        assert total <= len(server.requests) - total + 2 * 3
        assert asked < total
    assert kept.items() <= _written(folder / "stopped").items()
    assert _written(folder / "stopped") == _written(folder / "calm")
