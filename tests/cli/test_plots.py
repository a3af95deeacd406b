"""``taistore evaluate --plots``: the files it names are there."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taistore_cli.main import main
from tests.fakes import ColourEncoder
from tests.scoring.colours import add_pictures, new_store, prompts
from tests.scoring.runs import add_random_run


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with pictures, and runs of three radii."""
    encoder = ColourEncoder()
    store = new_store(tmp_path / "store", encoder)
    add_pictures(store, encoder)
    for number, radius in enumerate((0.0, 10.0, 25.0)):
        add_random_run(store, f"r{number}", prompts(encoder), radius=radius, minute=number)
    return tmp_path / "store"


def run(store: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--store", str(store)])


def test_pictures_of_this_run_and_of_its_kin(store: Path, tmp_path: Path) -> None:
    for run_id in ("r0", "r1"):
        assert run(store, "evaluate", run_id).exit_code == 0
    folder = tmp_path / "new" / "plots"
    result = run(store, "evaluate", "latest", "--plots", folder, "--json")
    assert result.exit_code == 0, result.stderr
    drawn = [Path(path) for path in json.loads(result.stdout)["plots"]]
    assert [path.name for path in drawn] == [
        f"{stem}{suffix}" for stem in ("ladder", "labels", "radius") for suffix in (".png", ".svg")
    ]
    assert all(path.parent == folder and path.is_file() for path in drawn)
    text = run(store, "evaluate", "latest", "--plots", folder).stdout
    assert text.count("picture: ") == 3


def test_a_folder_that_cannot_be_made_is_refused_before_evaluating(
    store: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = run(store, "evaluate", "latest", "--plots", tmp_path / "file" / "below")
    assert result.exit_code == 1
    assert "name another folder" in result.stderr
    assert "mAP" not in result.stdout
