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


@pytest.mark.parametrize("suffix", ["parquet", "npy"])
def test_scores_go_out_and_come_in_with_the_papers_rule(
    store: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"scores.{suffix}"
    result = run(store, "export-scores", "two", "--out", out, "--step", "adapter")
    assert result.exit_code == 0, result.stderr
    text = f"{out}: scores of 12 images of split 'test' for 6 labels by adapter"
    assert result.stdout.startswith(text)
    assert ("beside it: " in result.stdout) == (suffix == "npy")
    assert "--overwrite" in run(store, "export-scores", "two", "--out", out).stderr
    result = run(store, "ensemble", "one", "--with", out, "--rule", "paper", "--json")
    assert result.exit_code == 0, result.stderr
    made = json.loads(result.stdout)
    assert (made["rule"], made["split"], made["imported"]["images"]) == ("paper", "test", 12)
    assert made["imported"]["source"] == out.name
    found = json.loads(run(store, "evaluate", made["run_id"], "--json").stdout)
    assert list(found["ladder"])[-1] == "adapter"
    text = run(store, "ensemble", "one", "--with", out, "--rule", "paper").stdout
    assert "  0.500  one  probabilities, not scaled\n" in text
    assert f"  0.500  {out.name}\n" in text


def test_scores_that_do_not_fit_are_one_line(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.npy"
    assert run(store, "export-scores", "two", "--out", out).exit_code == 0
    lines = (tmp_path / "scores.ids.txt").read_text()
    (tmp_path / "mine.txt").write_text(lines.replace(lines[:32], "f" * 32))
    result = run(store, "ensemble", "one", "--with", out, "--ids", tmp_path / "mine.txt")
    assert result.exit_code == 1
    assert "scores.npy: 1 image ('ffff" in result.stderr
    assert result.stderr.count("\n") == 1
    result = run(store, "ensemble", "one", "--with", out, "--split", "other")
    assert "no image of split 'other' has a vector" in result.stderr
    result = run(store, "ensemble", "one", "--ids", out)
    assert "--ids and --label-keys belong to --with, which is not given" in result.stderr


def test_refusals_are_one_line(store: Path) -> None:
    for arguments, code, message in (
        (("one",), 1, "at least two members"),
        (("one", "one"), 1, "given twice"),
        (("one", "nobody"), 1, "no run 'nobody'"),
        (("one", "two", "--weights", "1,x"), 2, "numbers separated by commas"),
        ((), 2, "missing argument"),
    ):
        result = run(store, "ensemble", *arguments)
        assert result.exit_code == code
        assert message in result.stderr
