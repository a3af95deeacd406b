"""``taistore score``: how many tags, what it says of images without any, when only the page."""

from pathlib import Path
from typing import get_args

import pytest
from click.testing import CliRunner, Result

from taistore.scoring.ladders import ladder
from taistore.scoring.tags.read_tags import read_tags
from taistore_cli import score as module
from taistore_cli.main import main
from tests.fakes import ColourEncoder
from tests.scoring.colours import NAMES, PICTURES, add_pictures, add_run, new_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with pictures and a run."""
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    add_pictures(store, encoder)
    add_run(store, encoder)
    return tmp_path / "store"


def run(store: Path, out: Path, *options: str | Path) -> Result:
    at = ["--store", store, "--known", "ignore"]
    arguments = ["score", "latest", "--out", out, *at, *options]
    return CliRunner().invoke(main, list(map(str, arguments)))


def tags_per_image(out: Path) -> set[int]:
    ranks: dict[str, int] = {}
    for row in read_tags(out):
        ranks[row["uri"]] = row["rank"]
    return set(ranks.values())


def test_the_steps_are_those_of_the_ladder() -> None:
    assert module.STEPS == ladder.STEPS == get_args(ladder.Step)


def test_top_k_bounds_unless_only_a_threshold_does(store: Path, tmp_path: Path) -> None:
    for name, options, expected in (
        ("neither", (), {1, 2, 3}),
        ("threshold", ("--threshold", "0"), {len(NAMES)}),
        ("both", ("--threshold", "0", "--top-k", "2"), {2}),
        ("top-k", ("--top-k", "3"), {3}),
    ):
        out = tmp_path / f"{name}.csv"
        assert run(store, out, *options).exit_code == 0
        assert tags_per_image(out) == expected, name


def test_images_without_tags_are_counted(store: Path, tmp_path: Path) -> None:
    every, out, page = tmp_path / "every.csv", tmp_path / "tags.csv", tmp_path / "page.html"
    result = run(store, every, "--top-k", "1", "--html", page)
    assert "without tags" not in result.stdout
    assert "no tag above" not in page.read_text()
    assert "threshold" not in page.read_text()
    scores = sorted(row["score"] for row in read_tags(every))
    threshold = f"{(scores[-1] + scores[-2]) / 2:.6f}" if scores[-1] > scores[-2] else "1"
    result = run(store, out, "--threshold", threshold, "--html", page)
    assert result.exit_code == 0
    left = len(PICTURES) - len({row["uri"] for row in read_tags(out)})
    assert 1 < left < len(PICTURES)
    assert f"; {left} images without tags\n" in result.stdout
    given = f"{float(threshold):g}"
    header = f", threshold {given}. {left} images have no tag."
    assert header in page.read_text()


def test_a_finished_file_gets_its_page_without_scoring(store: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "tags.parquet", tmp_path / "page.html"
    assert run(store, out, "--top-k", "1").exit_code == 0
    before = out.stat()
    result = run(store, out, "--html", page)
    assert result.exit_code == 0
    assert f"{out} is there already: wrote the page only" in result.stdout
    assert f"page: {page}" in result.stdout
    after = out.stat()
    # Reading it may move its time of access.
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "from tags.parquet; photos without a tag have no row there" in page.read_text()
    wide = tmp_path / "wide.csv"
    assert run(store, wide, "--threshold", "1", "--layout", "wide").exit_code == 0
    assert run(store, wide, "--html", tmp_path / "wide.html").exit_code == 0
    assert "from wide.csv.<" in (tmp_path / "wide.html").read_text()
    assert "--overwrite" in run(store, out).stderr
    assert "wrote the page only" not in run(store, out, "--html", page, "--overwrite").stdout
    assert tags_per_image(out) == {1, 2, 3}


@pytest.mark.parametrize("where", ["/", "same", "below"])
def test_a_page_that_cannot_be_written_is_refused_before_scoring(
    store: Path, tmp_path: Path, where: str
) -> None:
    out = tmp_path / "tags.csv"
    file = tmp_path / "file"
    file.write_text("")
    page = {"/": Path("/"), "same": out, "below": file / "page.html"}[where]
    result = run(store, out, "--html", page)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "for --html" in result.stderr
    assert not out.exists()
