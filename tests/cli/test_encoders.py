"""``taistore encoders``: the list, and what is removed once a reader said yes."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import taistore
from taistore.project import Project
from taistore_cli.main import main


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Four image vectors of dimension 5 under the name clip."""
    np.save(tmp_path / "v.npy", np.eye(4, 5, dtype=np.float32))
    (tmp_path / "v.txt").write_text("a\nb\nc\nd", encoding="utf-8")
    made = taistore.create(tmp_path / "s", labels=["cat", "dog"], encoder="vectors:clip")
    made.ingest_image_vectors(tmp_path / "v.npy", name="clip")
    return made


def run(project: Project, *arguments: str, answer: str | None = None) -> Result:
    given = [*arguments, "--store", project.uri]
    done = CliRunner().invoke(main, ["encoders", *given], input=answer)
    assert done.exit_code == 0, done.output
    return done


TOLD = (
    "5 dimensions; 0 text vectors, 4 image vectors, 0 region vectors, 0 token vectors, 0 "
    "centroids; needed by 0 runs; the store's default"
)


def test_the_list_is_that_of_python(project: Project) -> None:
    assert run(project).stdout == f"vectors:clip  {TOLD}\n"
    (row,) = json.loads(run(project, "--json").stdout)["encoders"]
    (found,) = project.encoders()
    assert row == {
        "encoder_id": found.info.encoder_id,
        "spec": "vectors:clip",
        "dim": 5,
        "rows": dict(found.rows),
        "runs": [],
        "default": True,
        "going": False,
    }


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_it_asks_and_no_is_no(project: Project, answer: str) -> None:
    asked = run(project, "rm", "clip", answer=answer)
    assert f"remove vectors:clip: {TOLD}?" in asked.stderr
    assert "nothing was removed: --yes does it without asking" in asked.stdout
    assert len(project.encoders()) == 1


def test_yes_is_yes(project: Project) -> None:
    assert run(project, "rm", "vectors:clip", answer="y\n").stdout == (
        f"encoder vectors:clip removed: {TOLD}\n"
    )
    assert project.encoders() == []
    assert run(project).stdout.startswith("no encoders yet")


def test_a_program_is_not_asked(project: Project) -> None:
    shown = json.loads(run(project, "rm", "clip", "--json", answer="y\n").stdout)
    assert not shown["applied"]
    assert shown["rows"]["image_vectors"] == 4
    done = json.loads(run(project, "rm", "clip", "--json", "--yes").stdout)
    assert done == {**shown, "applied": True}
    assert project.encoders() == []


def test_another_dimension_names_the_command_that_mends_it(
    project: Project, tmp_path: Path
) -> None:
    np.save(tmp_path / "w.npy", np.eye(4, dtype=np.float32))
    (tmp_path / "w.txt").write_text("a\nb\nc\nd", encoding="utf-8")
    command = ["ingest-vectors", str(tmp_path / "w.npy"), "--kind", "image", "--name", "clip"]
    refused = CliRunner().invoke(main, [*command, "--store", project.uri])
    assert refused.exit_code == 1
    assert refused.stderr.count("\n") == 1
    assert "choose another --name, or remove the others with 'taistore encoders rm" in (
        refused.stderr
    )
    run(project, "rm", "clip", "--yes")
    assert CliRunner().invoke(main, [*command, "--store", project.uri]).exit_code == 0


def test_options_belong_after_rm(project: Project) -> None:
    refused = CliRunner().invoke(main, ["encoders", "--store", project.uri, "rm", "clip"])
    assert refused.exit_code == 2
    assert "give --store after the command" in refused.stderr
    assert len(project.encoders()) == 1
