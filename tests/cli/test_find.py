"""``taistore find`` and ``taistore show PHOTO`` as they are typed: what is printed, and where."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import taistore
from taistore.errors import ImageError
from taistore.project import Project
from taistore.store.run_rows import RunRow
from taistore_cli.main import main
from tests.fakes import ColourEncoder, colour_image
from tests.scoring.colours import PICTURES, add_images, add_pictures, add_run, image_row
from tests.scoring.colours import labels as colour_labels


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Pictures without files, two with one, captions and a run."""
    taistore.register_encoder("colours", ColourEncoder)
    folder = tmp_path_factory.mktemp("find")
    project = taistore.create(folder / "store", labels=colour_labels(), encoder="colours")
    project.generate_texts(40)
    encoder = ColourEncoder()
    add_pictures(project.store, encoder, grid=2)
    for n, name in enumerate(("a b.png", "line\nend.png")):
        colour_image("red").save(folder / name)
        row = image_row(100 + n, ("red",), uri=str(folder / name))
        add_images(project.store, encoder, [row], [("red",)], grid=2)
    add_run(project.store, encoder)
    return project


def typed(project: Project, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--store", project.uri])


def test_a_table_says_what_its_scores_are(project: Project) -> None:
    done = typed(project, "find", "a photo of red", "--top-k", "3", "--quiet")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split()[0] == "1"
    assert "red" in lines[0]
    assert "an order of these photos, no probability" in done.stdout
    # No line of a path's own: it is shown as one.
    assert len([line for line in lines if line[:4].strip().isdigit()]) == 3


def test_paths_alone_are_printed(project: Project) -> None:
    expected = project.find("a photo of red", top_k=4, tags=False).paths
    done = typed(project, "find", "a photo of red", "--top-k", "4", "--print0", "--quiet")
    assert done.stdout_bytes == b"".join(path.encode() + b"\0" for path in expected)
    lines = typed(project, "find", "a photo of red", "--top-k", "4", "--paths", "--quiet")
    assert lines.stdout == "".join(f"{path}\n" for path in expected)
    gone = typed(project, "find", "a photo of blue", "--top-k", "2", "-0")
    assert "2 of these have no file any more: 'taistore prune'" in gone.stderr
    assert typed(project, "find", "red", "--paths", "--json").exit_code == 2


def test_json_is_what_the_library_finds(project: Project) -> None:
    done = typed(project, "find", "--label", "red", "--not", "blue", "--min", "0.5", "--json")
    found = project.find(labels=["red"], without=["blue"], least=0.5)
    assert {**json.loads(done.stdout), "out": None, "html": None} == {
        **found.to_json(),
        "out": None,
        "html": None,
    }
    assert [photo.rank for photo in found] == [1, 2, 3, 4]


def test_files_and_pages_are_named(project: Project, tmp_path: Path) -> None:
    out, page = tmp_path / "found.jsonl", tmp_path / "found.html"
    done = typed(project, "find", "red", "--out", str(out), "--html", str(page), "--quiet")
    assert f"{out}: 14 photos" in done.stdout
    assert f"page: {page}" in done.stdout
    assert len(out.read_text(encoding="utf-8").splitlines()) == len(PICTURES) + 2
    again = typed(project, "find", "red", "--out", str(out))
    assert again.exit_code == 1
    assert "replace it with --overwrite" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to find: give a text, such as 'a dog on a beach', or --like or --label"),
        (["--label", "rad"], "did you mean 'red'?"),
        (["--like", "nowhere.png"], "knows no photo of this path or id: check the path"),
        (["red", "--min", "1"], ""),
    ],
    ids=["nothing", "label", "like", "none"],
)
def test_what_goes_wrong_is_one_line(project: Project, arguments: list[str], said: str) -> None:
    done = typed(project, "find", *arguments)
    if not said:
        assert "no photo of 14 is so: ask for less, or lower --min" in done.stdout
        return
    assert (done.exit_code, said in done.stderr) == (1, True), done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_show_tells_a_photo_of_the_store(project: Project) -> None:
    row = image_row(6, ("red", "green"))
    done = typed(project, "show", row["image_id"])
    assert done.exit_code == 0, done.output
    assert "(gone)" in done.stdout
    assert "known: shows RED, GREEN; no other label" in done.stdout
    report = json.loads(typed(project, "show", row["uri"], "--json").stdout)
    assert [tag["key"] for tag in report["tags"]] == ["RED", "GREEN"]
    assert all(tag["known"] for tag in report["tags"])
    # Red is the left half: the regions of the left column speak for it.
    regions = {tag["key"]: tag["region"]["column"] for tag in report["tags"]}
    assert regions == {"RED": 1, "GREEN": 2}
    for tag in report["tags"]:
        assert all(tag["key"].lower() in one["name"].lower() for one in tag["captions"])
    assert len(report["texts"]) == len(report["photos"]) == 5
    assert row["image_id"] not in [one["identity"] for one in report["photos"]]
    near = project.find(like=row["uri"], top_k=5, tags=False)
    assert [one["identity"] for one in report["photos"]] == [one.image_id for one in near]


def test_show_looks_at_a_photo_that_is_not_stored(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "new.png"
    colour_image("blue", "yellow", size=(90, 30)).save(path)
    images = project.store.count("images")
    report = json.loads(typed(project, "show", str(path), "--json").stdout)
    assert (report["stored"], report["positives"]) == (False, [])
    ((_, tags),) = project.run().tag([path])
    assert [tag["key"] for tag in report["tags"]] == [tag.key for tag in tags]
    assert [tag["score"] for tag in report["tags"]] == pytest.approx([tag.score for tag in tags])
    assert "'taistore ingest-images' adds it" in report["notes"][0]
    assert project.store.count("images") == images


def test_show_lists_why_a_photo_was_set_aside(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"\x89PNG no photo")
    with pytest.raises(ImageError, match="none of 1 images could be used"):
        project.ingest_images(tmp_path)
    done = typed(project, "show", str(path))
    assert done.exit_code == 0, done.output
    assert "set aside [ingest-images]:" in done.stdout
    path.unlink()
    assert "set aside [ingest-images]:" in typed(project, "show", str(path)).stdout
    unknown = typed(project, "show", str(tmp_path / "never.png"))
    assert unknown.exit_code == 1
    assert "no such file" in unknown.stderr


def test_show_says_what_to_do_with_a_dead_run(tmp_path: Path) -> None:
    project = taistore.create(tmp_path / "store", labels=colour_labels(), encoder="colours")
    encoder = ColourEncoder()
    run_id = add_run(project.store, encoder)
    row = project.store.run(run_id)
    values = {name: getattr(row, name) for name in RunRow.__dataclass_fields__}
    project.store.record_run(RunRow(**{**values, "run_id": "dead-1", "status": "failed"}))
    lines = typed(project, "show").stdout.splitlines()
    (dead,) = [line for line in lines if line.startswith("run dead-1")]
    assert "'taistore train --resume dead-1'" in dead
    assert "'taistore runs rm dead-1'" in dead
    (alive,) = [line for line in lines if line.startswith("run run-1")]
    assert "resume" not in alive
    assert typed(project, "show", "--run", "run-1").exit_code == 2
