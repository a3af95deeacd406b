"""A calibration of a run in an object store goes up with it, and is there on another machine."""

from pathlib import Path

import pytest

from taistore.adapter.run_files.file_names import CALIBRATION
from taistore.adapter.run_files.run_removal import remove_runs
from taistore.evaluation.calibration.calibrate import calibrate
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.scoring.cuts.calibration_file import read_calibration
from taistore.scoring.loaded_run import open_run
from taistore.scoring.score import score
from taistore.store.places import object_store
from tests.faults.colour_store import known_photos
from tests.faults.object_jobs import ENCODER, fill, started

pytestmark = pytest.mark.usefixtures("here")


def test_another_machine_tags_by_it(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(uri)
    source = open_source(known_photos(tmp_path), store.labels)
    ingest_images(store, ENCODER, source, split="val")
    run_id = started(store).run_id
    found = calibrate(store, run_id, precision=0.5)
    monkeypatch.setenv("TAISTORE_RUNS", str(tmp_path / "other machine"))
    folder = open_run(store, run_id).folder
    assert folder is not None
    assert str(tmp_path / "other machine") in str(folder)
    assert read_calibration(folder) == found
    summary = score(store, run_id, None, tmp_path / "tags.csv", precision=0.5, known="ignore")
    assert summary.scores == "probability"
    remove_runs(store, [run_id])
    import obstore

    there = [str(row["path"]) for part in obstore.list(object_store(uri), "runs") for row in part]
    assert not [path for path in there if path.endswith(CALIBRATION)]
