"""Weights that are replaced in their file: no job mixes their vectors with the old ones."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import taistore
from taistore.errors import StoreError
from taistore.project import Project
from taistore_cli.main import main
from tests.encoders import small_models
from tests.fakes import colour_image
from tests.prompting.learner_projects import make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Photos, texts and a run of weights that are then replaced."""
    made = make_project(tmp_path, texts=20)
    made.train("zsl", epochs=1)
    (tmp_path / "more").mkdir()
    colour_image("red", size=(33, 44)).save(tmp_path / "more" / "red.png")
    small_models.save("small-resnet", tmp_path, seed=7)
    return made


def files(project: Project) -> dict[str, int]:
    """Every file of the store and when it was written."""
    found = Path(project.uri).rglob("*")
    return {str(path): path.stat().st_mtime_ns for path in found if path.is_file()}


def invoked(project: Project, *arguments: str | Path, code: int = 0) -> Any:
    given = [*map(str, arguments), "--store", project.uri, "--quiet"]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == code, done.output
    return done


def test_the_weights_of_the_vectors_are_named_and_nothing_is_written(
    project: Project, tmp_path: Path
) -> None:
    old, before = project.encoder_info(), files(project)
    labels = tmp_path / "labels.txt"
    labels.write_text("red\ngreen\nblue\nyellow\n", encoding="utf-8")
    for command in (
        ["score", "latest", tmp_path / "more", "--out", tmp_path / "tags.csv"],
        ["ingest-images", tmp_path / "more"],
        ["generate-texts", "--count", "30"],
        ["generate-texts", "--count", "20", "--tokens"],
        ["train", "--method", "tai-dpt", "--context", "2"],
        ["init", labels, "--encoder", old.spec],
    ):
        done = invoked(project, *command, code=1)
        lines = [one for one in done.stderr.splitlines() if not one.startswith("loading encoder")]
        (line,) = lines
        assert line.startswith(f"taistore: {project.uri}: {old.spec} is now open_clip_small_resnet")
        assert f"and the vectors here are of {old.encoder_id}: put back the weights" in line
        assert f"taistore encoders rm {old.encoder_id}" in line
        assert files(project) == before
    assert not (tmp_path / "tags.csv").exists()
    with pytest.raises(StoreError, match="put back the weights"):
        next(project_again(project).run().tag([tmp_path / "more" / "red.png"]))
    assert project_again(project).run().score(out=tmp_path / "stored.csv").images == 24


def project_again(project: Project) -> Project:
    """As another process opens it."""
    return Project.open(project.uri, device="cpu")


def test_removed_old_vectors_make_room_for_new_ones(project: Project, tmp_path: Path) -> None:
    old = project.encoder_info()
    invoked(project, "encoders", "rm", old.encoder_id, "--yes", "--force")
    invoked(project, "ingest-images", tmp_path / "train.jsonl", "--split", "train")
    invoked(project, "generate-texts", "--count", "20")
    new = project_again(project).encoder_info()
    assert (new.spec, new.encoder_id != old.encoder_id) == (old.spec, True)
    assert project.store.count("image_vectors", new.encoder_id) == 12
    assert project.store.count("text_vectors", new.encoder_id) == 20
    assert project_again(project).train("zsl", epochs=1).encoder == new


def test_a_file_of_another_name_is_an_encoder_of_its_own(project: Project, tmp_path: Path) -> None:
    old = project.encoder_info()
    named = (tmp_path / "weights.pt").rename(tmp_path / "new.pt")
    other = f"open_clip:small-resnet/{named}"
    small_models.save("small-resnet", tmp_path)
    invoked(project, "ingest-images", tmp_path / "more", "--encoder", other)
    invoked(project, "ingest-images", tmp_path / "more")
    again = project_again(project)
    assert {one.spec for one in again.store.encoders()} == {
        old.spec,
        again.encoder_info(other).spec,
    }
    assert again.store.count("image_vectors", old.encoder_id) == 25
    assert again.store.count("image_vectors", again.encoder_info(other).encoder_id) == 1


def test_a_store_that_has_both_names_them_and_what_to_remove(project: Project) -> None:
    """As older versions could leave it."""
    old = project.encoder_info()
    new = dataclasses.replace(old, encoder_id=f"{old.encoder_id}_2", weights_digest="2")
    project.store.upsert("encoders", [dataclasses.asdict(new)])
    told = rf"different weights \({old.encoder_id}, {new.encoder_id}\): remove one with"
    with pytest.raises(StoreError, match=told):
        project.encoder_info()
    project.remove_encoder(new.encoder_id, apply=True)
    assert project.encoder_info() == old
    assert isinstance(taistore.open(project.uri), Project)
