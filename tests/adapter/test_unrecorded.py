"""What a run leaves that was killed before it was recorded goes with the store's upkeep."""

import os
import time
from pathlib import Path

import pytest

from taistore.adapter.config import TrainConfig
from taistore.adapter.run_files.run_lock import written_alone
from taistore.adapter.run_files.run_removal import drop_leftovers
from taistore.adapter.run_files.unrecorded import drop_unrecorded
from taistore.adapter.train import train
from taistore.project import Project
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, prompt_vectors, text_store

OLD = time.time() - 8 * 24 * 3600


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one run."""
    store = text_store(tmp_path / "store", rows=40)
    config = TrainConfig(hidden=4, epochs=1, batch=16)
    train(store, ENCODER_ID, config, prompts_ND=prompt_vectors(6))
    return store


def leave(store: Store, name: str, *, old: bool) -> Path:
    """The folder of a run that never got a row."""
    folder = Path(store.uri) / "runs" / name
    folder.mkdir()
    part = folder / "known-labels.parquet.part"
    part.write_bytes(b"PAR1")
    for path in (part, folder) if old else ():
        os.utime(path, (OLD, OLD))
    return folder


def test_an_old_folder_without_a_row_goes_and_all_others_stay(store: Store) -> None:
    (recorded,) = (Path(store.uri) / "runs").iterdir()
    for path in (*recorded.iterdir(), recorded):
        os.utime(path, (OLD, OLD))
    young, dead = leave(store, "zsl-young", old=False), leave(store, "zsl-dead", old=True)
    begun = leave(store, "zsl-begun", old=True)
    (begun / "prompts.safetensors").write_bytes(b"")
    os.utime(begun, (OLD, OLD))
    assert drop_unrecorded(store) == ("zsl-dead",)
    assert not dead.exists()
    assert all(path.exists() for path in (recorded, young, begun))
    assert drop_unrecorded(store) == ()


def test_optimize_says_what_it_removes(store: Store) -> None:
    dead = leave(store, "zsl-dead", old=True)
    told: list[str] = []
    Project(store, note=told.append).optimize(keep_days=0)
    assert not dead.exists()
    assert [line.rsplit(": ", 1)[1] for line in told] == ["zsl-dead"]


def test_what_killed_jobs_left_in_the_folders_of_runs_goes(store: Store) -> None:
    (recorded,) = (Path(store.uri) / "runs").iterdir()
    whole = sorted(path.name for path in recorded.iterdir())
    left = ["training.lock", ".tmpZ3kq0a", "training-state.safetensors.part"]
    for name in (*left, "notes.txt", ".tmp"):
        (recorded / name).write_bytes(b"")
    run_id = store.runs()[0].run_id
    with written_alone(recorded, run_id):
        assert drop_leftovers(store) == []
    (recorded / "training.lock").write_bytes(b"")
    assert sorted(path.name for path in drop_leftovers(store)) == sorted(left)
    assert sorted(path.name for path in recorded.iterdir()) == sorted([*whole, "notes.txt", ".tmp"])


def test_a_store_without_runs_has_none_to_drop(tmp_path: Path) -> None:
    assert drop_unrecorded(text_store(tmp_path / "store", rows=4)) == ()
