"""What a store takes on disk: few commits, old versions that go, and dead runs that let them go."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from taistore.encoders.imported.vector_reader import imported_info
from taistore.images.ingest import ingest_images
from taistore.images.sources.open_source import open_source
from taistore.labels import Label, LabelSet
from taistore.project import Project
from taistore.store.maintenance import TableReport, optimize
from taistore.store.run_rows import RunRow
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder, colour_image

LABELS = LabelSet(Label(name, name) for name in list(COLOURS)[:4])
VECTORS = imported_info("v0", dim=256)
TABLE = f"image_vectors__{VECTORS.encoder_id}"
COMMITS, ROWS = 200, 20


def _bytes(store: Store) -> int:
    return sum(path.stat().st_size for path in Path(store.uri).rglob("*") if path.is_file())


def _written(path: Path, *, commits: int) -> Store:
    """The same rows, about 2 MiB, in so many commits."""
    store = Store.create(path, LABELS, default_encoder="colour@32")
    store.register_encoder(VECTORS)
    vectors = np.random.default_rng(0).standard_normal((COMMITS * ROWS, VECTORS.dim))
    for part in np.array_split(np.arange(COMMITS * ROWS), commits):
        ids = [f"{i:032x}" for i in part]
        rows = {"image_id": ids, "vector": list(vectors[part].astype(np.float16))}
        store.append("image_vectors", rows, encoder_id=VECTORS.encoder_id)
    return store


def _report(reports: list[TableReport]) -> TableReport:
    (found,) = [report for report in reports if report.table == TABLE]
    return found


def test_many_small_commits_end_as_small_as_one(tmp_path: Path) -> None:
    once = _bytes(_written(tmp_path / "once", commits=1))
    store = _written(tmp_path / "often", commits=COMMITS)
    before = _bytes(store)
    assert before < 2.5 * once
    # Readers that take less than two days keep what they have open: the old files and the new one.
    report = _report(optimize(store))
    assert report.versions_kept >= COMMITS
    assert before < _bytes(store) < before + 1.2 * once
    kept = _bytes(store)
    report = _report(optimize(store, keep_days=0))
    assert (report.fragments_after, report.versions_kept) == (1, 0)
    assert _bytes(store) < 1.1 * once
    assert report.bytes_removed > 0.95 * (kept - _bytes(store))


def _dead_run(store: Store) -> None:
    """The row of a training that was killed while it read the table as it is now."""
    store.record_run(
        RunRow(
            run_id="dead",
            task="zsl",
            encoder_id=VECTORS.encoder_id,
            status="running",
            seed=0,
            config={},
            table_versions=store.versions([("image_vectors", VECTORS.encoder_id)]),
            metrics={},
            checkpoint="runs/dead",
            created=datetime.now(UTC),
        )
    )


def test_a_dead_run_keeps_its_version_until_it_is_removed(tmp_path: Path) -> None:
    store = _written(tmp_path / "s", commits=2)
    once = _bytes(store)
    _dead_run(store)
    read = store.dataset("image_vectors", VECTORS.encoder_id).version
    (Path(store.uri) / "runs" / "dead").mkdir(parents=True)
    said = CliRunner().invoke(main, ["optimize", "--keep-days", "0", "--store", store.uri])
    assert said.exit_code == 0, said.output
    (line,) = [line for line in said.stdout.splitlines() if line.startswith(TABLE)]
    assert line.endswith(
        "; 1 older versions kept: newest within --keep-days, or read by unfinished runs (dead)"
    )
    assert store.has_version("image_vectors", read, encoder_id=VECTORS.encoder_id)
    assert _bytes(store) > 1.9 * once
    Project(store).remove_runs(["dead"])
    report = _report(optimize(store, keep_days=0))
    assert (report.versions_kept, report.kept_for_runs) == (0, ())
    assert not store.has_version("image_vectors", read, encoder_id=VECTORS.encoder_id)
    assert _bytes(store) < 1.1 * once


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty of them, of which three cannot be read."""
    folder = tmp_path / "photos"
    folder.mkdir()
    names = list(COLOURS)
    for i in range(60):
        path = folder / f"{i:02}.png"
        if i % 20:
            colour_image(names[i % 12], names[i // 12], size=(20 + i, 16)).save(path)
        else:
            path.write_bytes(b"no")
    return folder


def test_a_job_makes_few_commits(tmp_path: Path, photos: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    encoder = ColourEncoder()
    source = open_source(photos, store.labels)
    summary = ingest_images(store, encoder, source, batch_size=2, regions=2)
    assert (summary.added, summary.rejected) == (57, 3)
    generate_texts(store, encoder, GenerateConfig(count=200))
    newest = {
        name: store.dataset(kind, encoder_id or None).version
        for name in store.table_names()
        for kind, _, encoder_id in [name.partition("__")]
    }
    assert len(newest) >= 8
    # One makes a table with its rows; where the machine is slow a second is due by time.
    assert max(newest.values()) <= 2, newest
