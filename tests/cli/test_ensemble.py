"""``taistore ensemble``: what it prints, and that its run is usable by the other commands."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taistore_cli.main import main
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_pictures, add_run, new_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with pictures and two runs."""
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    add_pictures(store, encoder)
    add_run(store, encoder, run_id="one")
    add_run(store, encoder, run_id="two", network="paper")
    return tmp_path / "store"


def run(store: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--store", str(store)])


def test_its_run_is_a_run_like_any_other(store: Path, tmp_path: Path) -> None:
    result = run(store, "ensemble", "one", "two", "--weights", "1,2", "--json")
    assert result.exit_code == 0, result.stderr
    made = json.loads(result.stdout)
    assert [round(member["weight"], 3) for member in made["members"]] == [0.333, 0.667]
    run_id = made["run_id"]
    found = json.loads(run(store, "evaluate", run_id, "--json").stdout)
    assert found["ladder"]["ensemble"]["mAP"] > 0
    out = tmp_path / "tags.csv"
    assert run(store, "score", run_id, "--out", out).exit_code == 0
    assert "holds the parts" not in run(store, "score", run_id, "--out", out, "--overwrite").stderr
    assert f"run {run_id}: ensemble, finished" in run(store, "show").stdout


def test_it_says_how_scores_are_scaled(store: Path) -> None:
    result = run(store, "ensemble", "one", "two", "--split", "test")
    assert "ranges over 12 images of split 'test', without regions; not clipped" in result.stdout
    assert "  0.500  two\n" in result.stdout


def test_refusals_are_one_line(store: Path) -> None:
    for arguments, code, message in (
        (("one",), 1, "at least two members"),
        (("one", "one"), 1, "given twice"),
        (("one", "nobody"), 1, "no run 'nobody'"),
        (("one", "two", "--weights", "1,x"), 2, "numbers separated by commas"),
        ((), 2, "Missing argument"),
    ):
        result = run(store, "ensemble", *arguments)
        assert result.exit_code == code
        assert message in result.stderr
