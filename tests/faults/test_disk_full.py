"""A disk that is full in the middle of a job: one line, nothing lost, and the job goes on."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import Result

import taistore
from taistore.adapter.run_files.file_names import write_whole
from taistore.errors import ScoringError, TrainingError
from taistore.scoring.page.write_page import write_page
from tests.fakes import COLOURS, ColourEncoder
from tests.faults.colour_store import (
    colour_photos,
    colour_store,
    command,
    error_line,
    everything,
    half_files,
    result,
    runs_without_a_row,
)
from tests.faults.small_disk import small_disk
from tests.scoring.test_page import write_tags

PAGE = 4096
FREE = (0, 1, 2, 3, 5, 8, 12, 18, 26, 40, 64)
"""Pages that are free when a job begins: it fails in one place after another, until it fits."""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and more photos than it holds."""
    folder = tmp_path_factory.mktemp("base")
    colour_store(folder)
    colour_photos(folder / "more", count=40)
    return folder


def ingest(folder: Path) -> Result:
    return command(folder / "store", "ingest-images", folder / "more", "--regions", "2")


def generate(folder: Path) -> Result:
    return command(folder / "store", "generate-texts", "--count", "400")


def train(folder: Path) -> Result:
    store = folder / "store"
    unfinished = [run for run in taistore.open(store).runs() if run.status != "finished"]
    how = ["--resume", "latest"] if unfinished else ["--epochs", "2", "--seed", "3"]
    return command(store, "train", *how)


def ensemble(folder: Path) -> Result:
    first, second = [run.run_id for run in taistore.open(folder / "store").runs()][:2]
    return command(folder / "store", "ensemble", first, second)


def score(folder: Path) -> Result:
    done = command(folder / "store", "score", "latest", folder / "more", "--out", folder / "t.csv")
    if done.exit_code:
        assert not (folder / "t.csv").exists()
    return done


def page(folder: Path) -> Result:
    tags, html = folder / "t.jsonl", folder / "t.html"
    done = command(folder / "store", "score", "latest", "--out", tags, "--html", html)
    if done.exit_code:
        assert not html.exists()
    return done


def optimize(folder: Path) -> Result:
    return command(folder / "store", "optimize", "--keep-days", "0")


JOBS = (ingest, generate, train, ensemble, score, page, optimize)


def outputs(folder: Path) -> dict[str, bytes]:
    """What was written beside the store; paths of photos differ from disk to disk."""
    return {
        path.name: path.read_bytes().replace(bytes(folder), b"")
        for path in folder.glob("t.*")
        if path.is_file() and path.suffix != ".html"
    }


def comparable(folder: Path) -> dict[str, list[str]]:
    """Everything in the store, without the paths of photos."""
    found = everything(folder / "store")
    return {name: [row.replace(str(folder), "") for row in rows] for name, rows in found.items()}


@pytest.mark.parametrize("job", JOBS)
def test_a_full_disk_is_one_line_and_the_job_goes_on(
    job: Callable[[Path], Result], base: Path, tmp_path: Path
) -> None:
    fill(job, base, tmp_path, FREE[::4])


@pytest.mark.faults
@pytest.mark.parametrize("job", JOBS)
def test_wherever_the_disk_is_full(
    job: Callable[[Path], Result], base: Path, tmp_path: Path
) -> None:
    fill(job, base, tmp_path, FREE)


def fill(job: Callable[[Path], Result], base: Path, tmp_path: Path, pages: Sequence[int]) -> None:
    """Begin the job on ever larger disks and end it when there is room, as if nothing had been."""
    shutil.copytree(base, tmp_path / "calm")
    assert job(tmp_path / "calm").exit_code == 0
    calm, calm_outputs = comparable(tmp_path / "calm"), outputs(tmp_path / "calm")
    failed = 0
    for free in pages:
        with small_disk(tmp_path / f"disk{free}") as disk:
            folder = disk.path / "job"
            shutil.copytree(base, folder)
            disk.leave(free * PAGE)
            done = job(folder)
            if done.exit_code == 0:
                break
            failed += 1
            line = error_line(done)
            assert "no space is left" in line.replace("No space left", "no space is left"), line
            assert half_files(folder) == []
            assert not runs_without_a_row(folder / "store")
            assert result(folder / "store", "show")["tables"]["images"] >= 6
            disk.make_room()
            again = job(folder)
            assert again.exit_code == 0, (free, line, again.output)
            assert comparable(folder) == calm
            assert outputs(folder) == calm_outputs
    assert failed


def test_a_store_that_did_not_fit_can_be_made_later(tmp_path: Path) -> None:
    taistore.register_encoder("colours", ColourEncoder)
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(COLOURS), encoding="utf-8")
    failed = 0
    for free in FREE[::4]:
        with small_disk(tmp_path / f"disk{free}") as disk:
            disk.leave(free * PAGE or 1)
            done = command(disk.path / "store", "init", labels, "--encoder", "colours")
            if done.exit_code == 0:
                break
            failed += 1
            assert "no space is left" in error_line(done)
            disk.make_room()
            assert result(disk.path / "store", "init", labels, "--encoder", "colours")["labels"]
            assert result(disk.path / "store", "show")["tables"]["labels"] == len(COLOURS)
    assert failed


def test_a_file_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        disk.leave(2 * PAGE)
        with pytest.raises(TrainingError, match=r"card.json: cannot be written \(No space left"):
            write_whole(disk.path / "card.json", lambda part: part.write_text("x" * 20 * PAGE))
        assert list(disk.path.iterdir()) == []


def test_a_page_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    tags = write_tags(tmp_path / "tags.csv", [])
    with small_disk(tmp_path / "disk") as disk:
        disk.leave(2 * PAGE)
        with pytest.raises(ScoringError, match=r"page.html: cannot be written \(No space left"):
            write_page(tags, disk.path / "page.html")
        assert list(disk.path.iterdir()) == []
