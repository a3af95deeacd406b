"""What was said to be complete before a label came says nothing of it, wherever it is shown."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import taistore
from taistore.project import Project
from taistore.scoring.page.cards import TaggedImage, known_labels
from taistore_cli.main import main
from tests.fakes import ColourEncoder, colour_image


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A photo whose labels were complete, and a label that came since."""
    taistore.register_encoder("colours", ColourEncoder)
    made = taistore.create(tmp_path / "store", labels=["red", "blue"], encoder="colours")
    colour_image("red").save(tmp_path / "a.png")
    (tmp_path / "known.jsonl").write_text('{"image": "a.png", "labels": ["red"]}\n')
    made.ingest_images(tmp_path / "known.jsonl", regions=0)
    made.add_labels(["green", "black"])
    return made


def test_a_photo_is_not_said_to_lack_it(project: Project, tmp_path: Path) -> None:
    show = ["show", str(tmp_path / "a.png"), "--store", project.uri]
    told = CliRunner().invoke(main, show)
    assert told.exit_code == 0, told.output
    assert "known: shows red; does not show blue\n" in told.stdout
    # What names another store's command names the store.
    assert f"'taistore generate-texts --store {project.uri}'" in told.stdout
    report = json.loads(CliRunner().invoke(main, [*show, "--json"]).stdout)
    assert (report["complete"], report["negatives"]) == (False, ["blue"])


def test_its_tag_is_neither_right_nor_wrong_on_the_page(project: Project) -> None:
    (row,) = project.images().to_dicts()
    image = TaggedImage(image_id=row["image_id"], uri=row["uri"], tags=())
    known = known_labels(project.store, [image])[row["image_id"]]
    assert [known.right(key) for key in ("red", "blue", "green")] == [True, False, None]
