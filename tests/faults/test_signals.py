"""SIGINT, SIGTERM and SIGHUP at several moments of every long job, and the same job run again."""

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from taistore.adapter.run_files.checkpoint import WEIGHTS
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore_cli.main import main
from tests.fakes import COLOURS, colour_image
from tests.faults.stop_me import add_encoder
from tests.killing import Ended, run_and_signal

NAMES = tuple(COLOURS)[:6]
PHOTOS = 24
COMMIT = "taistore.store.store:Store._merge"
STEP = "taistore.adapter.loop:TrainingJob._step"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, captions, vectors and a store of texts and images, to be copied."""
    add_encoder()
    folder = tmp_path_factory.mktemp("made")
    (folder / "photos").mkdir()
    for i in range(PHOTOS):
        pair = NAMES[i % 6], NAMES[(i * 5 + 1 + i // 6) % 6]
        colour_image(*pair, size=(40 + i, 30)).save(folder / "photos" / f"{i:02}.png")
    captions = [f"a {NAMES[i % 6]} thing beside number {i}" for i in range(2500)]
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
    run(folder, "filled", "ingest-images", "photos", "--regions", "2")
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
        steps=(3, 1, 2),
    ),
    "own captions": Job(
        command=("ingest-texts", "captions.txt"),
        begins="empty",
        place=COMMIT,
        steps=(4, 2, 7),
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
        steps=(5, 2, 3),
    ),
    "image vectors": Job(
        command=("ingest-vectors", "v.npy", "--ids", "v.jsonl", "--name", "v"),
        begins="empty",
        place=COMMIT,
        steps=(2, 1, 4),
    ),
}
"""The first of ``steps`` is tried in every run of the tests, the others in the long form."""


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
    for name in ("photos", "captions.txt", "v.npy", "v.jsonl"):
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
    assert ended.line.startswith(f"taistore: stopped by {number.name} after "), ended.line
    assert ": what is done is kept; to go on: taistore " in ended.line
    assert go_on(ended.line) == _placed(tmp_path, "stopped", job.command)
    stopped = CliRunner().invoke(main, go_on(ended.line))
    assert stopped.exit_code == 0, stopped.output
    _copy(made, tmp_path, job.begins, "calm")
    run(tmp_path, "calm", *job.command)
    assert content(tmp_path / "stopped") == content(tmp_path / "calm")


@pytest.mark.parametrize(("name", "number"), [("encoding images", SIGTERM), ("templates", SIGHUP)])
def test_a_stopped_job_goes_on(made: Path, tmp_path: Path, name: str, number: Signals) -> None:
    _check(made, tmp_path, name, number, JOBS[name].steps[0])


@pytest.mark.faults
@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("moment", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(JOBS))
def test_every_job_at_every_moment(
    made: Path, tmp_path: Path, name: str, moment: int, number: Signals
) -> None:
    _check(made, tmp_path, name, number, JOBS[name].steps[moment])


def test_the_batch_under_way_is_kept_and_none_is_begun(made: Path, tmp_path: Path) -> None:
    ended = stop(made, tmp_path, JOBS["encoding images"], SIGTERM, step=5)
    assert ended.after == 0
    assert "after 10 of 24 images" in ended.line
    assert Store.open(tmp_path / "stopped").count("images") == 10


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


TRAIN = Job(command=("train", "--epochs", "4"), begins="filled", place=STEP, steps=(5, 1, 12))


def _train(made: Path, tmp_path: Path, options: tuple[str, ...], number: Signals, at: int) -> None:
    job = Job(command=(*TRAIN.command, *options), begins="filled", place=STEP, steps=())
    ended = stop(made, tmp_path, job, number, step=at)
    assert ended.code == 128 + number, ended.stderr
    assert ended.after == 0
    store = Store.open(tmp_path / "stopped")
    (row,) = store.runs()
    assert row.status == "stopped"
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
@pytest.mark.parametrize("number", [SIGINT, SIGTERM, SIGHUP])
@pytest.mark.parametrize("at", [1, 5, 12])
@pytest.mark.parametrize(
    "options",
    [
        ("--task", "zsl", "--shift", "none"),
        ("--task", "fsl", "--shots", "2", "--split", "test"),
        ("--task", "pll", "--split", "test"),
    ],
    ids=["zsl", "fsl", "pll"],
)
def test_every_task_at_every_moment(
    made: Path, tmp_path: Path, options: tuple[str, ...], at: int, number: Signals
) -> None:
    _train(made, tmp_path, options, number, at)
