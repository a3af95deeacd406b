"""``taistore reproduce``: what it prints, and how it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taistore.encoders.protocol import Encoder
from taistore.reproduction import reproduce
from taistore.reproduction.tables import METHODS, TABLES
from taistore_cli import reproduce as module
from taistore_cli.main import main
from tests.fakes import ColourEncoder
from tests.reproduction.small_sets import own_form


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one set; every spec loads an encoder without weights."""

    def load(spec: str, *, device: str, precision: str) -> Encoder:
        return ColourEncoder()

    monkeypatch.setattr(reproduce, "load_encoder", load)
    own_form(tmp_path / "data")
    return tmp_path / "data"


def run(data: Path, *arguments: str) -> Result:
    work = str(data.parent / "work")
    given = ["reproduce", *arguments, "--data", str(data), "--work", work, "--texts", "40"]
    return CliRunner().invoke(main, given)


def test_choices_are_those_of_the_library() -> None:
    assert tuple(TABLES) == module.TABLES
    assert tuple(METHODS) == module.METHODS


def test_table2_on_a_set_of_ones_own(data: Path) -> None:
    sets = ("--sets", "colours,mine", "--encoder", "packaged")
    result = run(data, "table2", *sets)
    assert result.exit_code == 0, result.stderr
    assert "missing: mine: not below" in result.stderr
    assert "colours: 6 images of split 'test', 4 labels" in result.stdout
    assert "2 runs trained, 0 used again" in result.stdout
    found = json.loads(run(data, "table2", *sets, "--json").stdout)
    assert (found["sets"][0]["trained"], len(found["missing"])) == (0, 1)


def test_refusals_are_one_line(data: Path) -> None:
    for arguments, code, message in (
        (("table4",), 2, "table4"),
        (("table2", "--sets", "../x"), 2, "names of folders in --data"),
        (("table2", "--sets", ","), 2, "names of folders in --data"),
        (("table2", "--seeds", "0,0"), 2, "different whole numbers"),
        (("table2", "--seeds", "a"), 2, "different whole numbers"),
        (("table2", "--sets", "mine", "--json"), 1, "nothing of it can be run: mine: not below"),
        (("table2", "--sets", "colours", "--encoder", "nonsense"), 1, "unknown encoder"),
    ):
        result = run(data, *arguments)
        assert result.exit_code == code, arguments
        assert message in result.stderr, arguments
    assert result.stderr.count("\n") == 1
