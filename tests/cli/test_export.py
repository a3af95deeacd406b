"""``taistore export`` and ``taistore diff`` on a store, its runs, and files of their tags."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from taistore.exporting.sidecars.xmp_sidecar import keywords
from taistore.scoring.tags.read_tags import read_tags
from taistore_cli.main import main
from tests.exporting.tagged_folder import contents
from tests.faults.colour_store import colour_store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two runs, and the tags of the later one in a file."""
    made = tmp_path_factory.mktemp("export")
    project = colour_store(made)
    for suffix in (".parquet", ".jsonl"):
        project.run().score(out=made / f"tags{suffix}", known="ignore", top_k=2)
    return made


def run_ids(folder: Path) -> list[str]:
    return [run["run_id"] for run in told(taistore(folder, "runs"))["runs"]]


def taistore(folder: Path, *arguments: str | Path, as_json: bool = True) -> Result:
    options = ["--store", str(folder / "store"), *(["--json"] if as_json else [])]
    return CliRunner().invoke(main, [*map(str, arguments), *options])


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def sidecars(folder: Path) -> dict[str, list[str]]:
    return {path.name: keywords(path.read_bytes()) for path in (folder / "photos").glob("*.xmp")}


def test_a_run_is_exported_brought_up_to_date_and_taken_back(folder: Path) -> None:
    before = contents(folder / "photos")
    run = run_ids(folder)[-1]
    said = told(taistore(folder, "export", "latest", "--to", "xmp", "--dry-run"))
    assert contents(folder / "photos") == before
    done = told(taistore(folder, "export", "latest", "--to", "xmp"))
    assert done == {**said, "dry_run": False}
    assert (done["run"], done["written"], done["set_aside"]) == (run, 6, [])
    assert done["tags"] == sum(map(len, sidecars(folder).values())) > 6
    few = told(taistore(folder, "export", "latest", "--to", "xmp", "--top-k", "1"))
    assert few["merged"] + few["unchanged"] == 6
    # A photo whose labels are known has all of them.
    assert few["tags"] == sum(map(len, sidecars(folder).values()))
    back = told(taistore(folder, "export", folder / "photos", "--to", "xmp", "--retract", "latest"))
    assert (back["retracted"], back["run"], back["removed"]) == (True, run, 6)
    assert contents(folder / "photos") == before


def test_taking_back_a_run_by_the_stores_photos_scores_nothing(folder: Path) -> None:
    first, last = run_ids(folder)
    for run in (first, last):
        told(taistore(folder, "export", run, "--to", "xmp"))
    back = told(taistore(folder, "export", "latest", "--to", "xmp", "--retract", first))
    assert back["merged"] == 6
    assert b"".join(p.read_bytes() for p in folder.glob("photos/*.xmp")).count(first.encode()) == 0
    back = told(taistore(folder, "export", "latest", "--to", "xmp", "--retract", last))
    assert back["removed"] == 6


def test_a_parquet_file_names_its_run_and_others_are_named_by_their_file(folder: Path) -> None:
    run = run_ids(folder)[-1]
    for name, options, marked in (
        ("tags.parquet", [], run),
        ("tags.jsonl", [], "tags.jsonl"),
        ("tags.jsonl", ["--run", "mine"], "mine"),
    ):
        done = told(taistore(folder, "export", folder / name, "--to", "xmp", "--dry-run", *options))
        assert (done["run"], done["written"], done["tags"]) == (marked, 6, 12)


def test_the_export_of_a_file_has_its_tags(folder: Path) -> None:
    taistore(folder, "export", folder / "tags.jsonl", "--to", "xmp", "--out", folder / "side")
    wanted: dict[str, list[str]] = {}
    for row in read_tags(folder / "tags.jsonl"):
        wanted.setdefault(f"{Path(row['uri']).name}.xmp", []).append(row["label_name"])
    found = {path.name: keywords(path.read_bytes()) for path in (folder / "side").glob("*.xmp")}
    assert found == wanted


def test_lines_for_people(folder: Path, tmp_path: Path) -> None:
    row = json.loads((folder / "tags.jsonl").read_text().splitlines()[0])
    gone = [{**row, "uri": str(tmp_path / f"\x1b[2J{n}.jpg")} for n in range(12)]
    tags = tmp_path / "t.jsonl"
    tags.write_text("".join(json.dumps(each) + "\n" for each in gone))
    lines = taistore(folder, "export", tags, "--to", "xmp", as_json=False).stdout.splitlines()
    assert lines[:2] == ["xmp, run t.jsonl: nothing to do; tags: 0, photos: 12", "set aside: 12"]
    assert lines[2].endswith("\\x1b[2J0.jpg: the photo is gone")
    assert lines[-1] == "  2 more (--json names all)"
    said = taistore(
        folder, "export", folder / "tags.jsonl", "--to", "xmp", "--dry-run", as_json=False
    )
    assert said.stdout.startswith("nothing written, as this is a dry run; would be: xmp, run")
    assert said.stdout.count(".png.xmp") == 6


def test_what_is_not_listed_and_not_looked_at_is_said(tmp_path: Path) -> None:
    rows = []
    for n in range(12):
        photo = tmp_path / f"{n}.png"
        photo.write_bytes(b"a photo")
        tag = {"rank": 1, "label_key": "dog", "label_name": "dog", "score": 0.5}
        rows.append(json.dumps({"image_id": f"{n:032x}", "uri": str(photo), **tag}))
    tags = tmp_path / "tags.jsonl"
    tags.write_text("\n".join(rows), encoding="utf-8")
    export = ("export", tags, "--to", "xmp")
    dry = taistore(tmp_path, *export, "--dry-run", as_json=False).stdout.splitlines()
    assert len(dry) == 12
    assert dry[-1] == "  and 2 more"
    taistore(tmp_path, *export)
    # A file of tags names no photo that has none, which may still have those of an earlier export.
    back = taistore(tmp_path, *export, "--retract", "tags.jsonl", as_json=False).stdout
    assert "12 removed" in back
    assert f"photos without tags in {tags} were not looked at: name their folder" in back
    back = taistore(
        tmp_path, "export", tmp_path, "--to", "xmp", "--retract", "tags.jsonl", as_json=False
    ).stdout
    assert "not looked at" not in back


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nobody", "--to", "xmp"], 1, "no run 'nobody'"),
        (["gone.jsonl", "--to", "xmp"], 1, "no such file of tags: check the path"),
        (["latest", "--to", "xmp", "--run", "x"], 2, "a run has its own name"),
        (["latest", "--to", "coco"], 1, "--to coco needs --out"),
        (["latest", "--to", "coco", "--out", "s3://b/x.json"], 1, "--out is written to"),
        (["photos", "--to", "xmp"], 1, "give --retract"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], code: int, said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = taistore(folder, "export", *arguments)
    assert result.exit_code == code
    assert said in result.stderr
    if code == 1:
        assert len(result.stderr.splitlines()) == 1


def test_diff_of_two_runs_and_of_a_run_and_its_file(folder: Path, tmp_path: Path) -> None:
    first, last = run_ids(folder)
    places: list[str | Path] = ["--out", tmp_path / "d.csv", "--html", tmp_path / "d.html"]
    found = told(taistore(folder, "diff", first, last, *places))
    assert (found["before"], found["after"], found["images"]) == (first, last, 6)
    changed = found["appears"] + found["goes"] + found["moves"]
    assert len((tmp_path / "d.csv").read_text().splitlines()) == 1 + changed
    assert last in (tmp_path / "d.html").read_text()
    again = taistore(folder, "diff", first, last, *places)
    assert again.exit_code == 1
    assert "give --overwrite" in again.stderr
    assert told(taistore(folder, "diff", first, last, *places, "--overwrite"))["images"] == 6
    same = told(
        taistore(folder, "diff", folder / "tags.parquet", folder / "tags.jsonl", "--top-k", "2")
    )
    assert (same["appears"], same["goes"], same["moves"], same["stays"]) == (0, 0, 0, 12)
    lines = taistore(folder, "diff", first, last, as_json=False).stdout
    assert f"{first} -> {last}" in lines


def test_the_helps_of_export_and_export_scores_name_each_other() -> None:
    for name, other in (("export", "taistore export-scores"), ("export-scores", "taistore export")):
        said = CliRunner().invoke(main, [name, "--help"]).stdout.split("Example")[0]
        assert other in " ".join(said.split())
