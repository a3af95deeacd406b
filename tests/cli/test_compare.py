"""``taistore compare`` and ``evaluate`` with a protocol and a bootstrap."""

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


def test_compare_prints_differences_with_intervals(store: Path) -> None:
    result = run(store, "compare", "one", "two", "--bootstrap", "200", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["runs"] == ["one", "two"]
    assert found["bootstrap"] == {"samples": 200, "seed": 0, "level": 95.0}
    step = found["steps"]["adapter"]
    assert step["low"] <= step["difference"] <= step["high"] < 0
    assert step["p"] < 0.05
    assert len(found["labels"]) == 6
    again = run(store, "compare", "one", "two", "--bootstrap", "200", "--json")
    assert again.stdout == result.stdout
    text = run(store, "compare", "one", "two", "--bootstrap", "200").stdout
    assert "first   one\nsecond  two\n" in text


def test_evaluate_gives_intervals(store: Path) -> None:
    found = json.loads(run(store, "evaluate", "one", "--bootstrap", "100", "--json").stdout)
    assert found["bootstrap"]["samples"] == 100
    for step, (low, high) in found["bootstrap"]["mAP"].items():
        assert low <= high, step
    text = run(store, "evaluate", "one", "--bootstrap", "100").stdout
    assert "95 % of 100 resamples" in text


def test_a_protocol_that_does_not_fit_is_one_line(store: Path) -> None:
    for arguments in (("evaluate", "one"), ("compare", "one", "two")):
        result = run(store, *arguments, "--protocol", "voc2007")
        assert result.exit_code == 1
        assert "needs 20 labels that this store has not (aeroplane" in result.stderr
        assert result.stderr.count("\n") == 1


def test_openimages_says_what_it_counts(store: Path) -> None:
    text = run(store, "evaluate", "one", "--protocol", "openimages").stdout
    assert text.startswith("protocol openimages: OpenImages image-level labels, test")
    assert "WARNING: protocol openimages has 125,436 images, here are 12" in text


def test_refusals(store: Path) -> None:
    assert "compared with itself" in run(store, "compare", "two", "latest").stderr
    assert run(store, "compare", "one", "two", "--bootstrap", "5").exit_code == 2
    assert run(store, "evaluate", "one", "--protocol", "voc2012").exit_code == 2
