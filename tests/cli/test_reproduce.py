"""``taistore reproduce``: what it prints, and how it refuses."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taistore.encoders.protocol import Encoder
from taistore.reproduction import reproduce
from taistore.reproduction.tables import METHODS, TABLES
from taistore.reproduction.without_data import efficiency
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


def run(data: Path, *arguments: str, texts: int | None = 40) -> Result:
    work = str(data.parent / "work")
    given = ["reproduce", *arguments, "--data", str(data), "--work", work]
    given += ["--texts", str(texts)] if texts is not None else []
    return CliRunner().invoke(main, given)


def test_choices_are_those_of_the_library() -> None:
    assert tuple(TABLES) == module.TABLES
    assert tuple(METHODS) == module.METHODS
    assert efficiency.NAME == module.EFFICIENCY


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
        (("table5",), 2, "table5"),
        (("table4",), 2, "--data has no meaning for table4, which takes no data"),
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


def test_texts_and_settings_reach_the_library(data: Path) -> None:
    file = data.parent / "own.txt"
    file.write_text("".join(f"A {name} kite\n" for name in ("red", "green", "blue", "yellow")))
    sets = ("--sets", "colours", "--encoder", "packaged", "--method", "paper", "--json")
    settings = ("--radius", "25", "--hidden", "16", "--dropout", "0.1", "--epochs", "2")
    given = ("table2", *sets, *settings, "--captions", str(file))
    result = run(data, *given, texts=None)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["captions"], found["sets"][0]["texts"]) == ("own.txt", 4)
    assert found["settings"] == {"radius": "25", "hidden": 16, "dropout": 0.1, "epochs": 2}
    balanced = json.loads(run(data, "table2", *sets, "--combinations", "balanced").stdout)
    assert (balanced["combinations"], balanced["texts"]) == ("balanced", 40)


def test_texts_that_do_not_go_together_are_refused_in_flags(data: Path) -> None:
    file = data.parent / "own.txt"
    file.write_text("A red kite\n")
    server = ("--writer", "openai", "--base-url", "http://127.0.0.1:9/v1")
    for arguments, code, message in (
        (("--captions", str(file)), 1, "--texts has no meaning with --captions, whose file"),
        (("--model", "m"), 2, "--model has no meaning for --writer template"),
        (server, 1, "--writer openai needs --model here"),
        (("--method", "default", "--radius", "2x"), 1, "--radius changes --method paper, which"),
    ):
        result = run(data, "table2", *arguments)
        assert result.exit_code == code, arguments
        assert message in result.stderr, (arguments, result.stderr)


def test_table4_takes_no_data(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["reproduce", "table4", "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found == efficiency.count_efficiency().to_json()
    assert found["paper"]["TaI-DPT"]["training"]["parameters"] == 50_400_000
    for name in module.TABLES:
        refused = CliRunner().invoke(main, ["reproduce", name, "--work", str(tmp_path / "work")])
        assert refused.exit_code == 2
        assert f"{name} needs --data DIR, the folder of the sets" in refused.stderr
    assert not (tmp_path / "work").exists()
