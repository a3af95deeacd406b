"""generate-images on the command line, and pictures that are kept as files."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from taistore.errors import SyntheticError
from taistore.synthetic.generate_images import generate_images
from taistore_cli.main import main
from tests.fakes import ColourEncoder, colour_image
from tests.synthetic.painting import Painter, caption, captioned_store, named_store, pair, rows


def _command(folder: Path, *arguments: str) -> Result:
    given = ["--store", str(folder / "s"), "--encoder", "colour"]
    return CliRunner().invoke(main, [*arguments, *given])


def _manifest(folder: Path) -> Path:
    lines = []
    for n in range(4):
        colour_image(*pair(n)).save(folder / f"{n}.jpg", quality=80)
        lines.append(json.dumps({"text": caption(n), "image": f"{n}.jpg"}))
    lines.append("{}")
    (folder / "m.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "m.jsonl"


def test_what_it_tells(tmp_path: Path) -> None:
    named_store(tmp_path / "s", 30)
    job = ("generate-images", "--writer", "folder", "--images", str(_manifest(tmp_path)))
    said = _command(tmp_path, *job, "--keep", str(tmp_path / "kept"), "--json")
    assert said.exit_code == 0, said.output
    value: dict[str, Any] = json.loads(said.stdout)
    assert (value["written"], value["rejected"], value["requested"]) == (4, 1, 5)
    assert value["rejects"] == {"malformed": 1}
    kept = {path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    assert kept == {(tmp_path / f"{n}.jpg").read_bytes() for n in range(4)}
    again = _command(tmp_path, *job)
    assert "5 images of 30 texts: 0 written, 4 were there, 1 rejected (1 malformed)" in again.output
    audit = _command(tmp_path, "synthetic", "audit", "--json")
    assert json.loads(audit.stdout)["images"] == 4
    assert "4 images of 4 texts (folder 4)" in _command(tmp_path, "synthetic", "audit").output


def test_options_of_another_writer_are_a_usage_error(tmp_path: Path) -> None:
    named_store(tmp_path / "s", 0)
    said = _command(tmp_path, "generate-images", "--writer", "folder", "--steps", "3")
    assert said.exit_code == 2
    assert "--steps has no meaning for --writer folder" in said.output
    said = _command(tmp_path, "generate-images", "--writer", "folder")
    assert "--writer folder needs --images" in said.output


def test_pictures_are_kept_whole_under_their_names(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 3)
    generate_images(store, ColourEncoder(), Painter(2), keep=tmp_path / "a" / "b")
    names = {path.name for path in (tmp_path / "a" / "b").iterdir()}
    assert names == {f"{key}.png" for key in rows(store, "synthetic_vectors")}
    for path in (tmp_path / "a" / "b").iterdir():
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    store = captioned_store(tmp_path / "s", 3)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SyntheticError, match=r"the picture cannot be kept \(") as error:
        generate_images(store, ColourEncoder(), Painter(2), keep=tmp_path / "file" / "in")
    assert "\n" not in str(error.value)
