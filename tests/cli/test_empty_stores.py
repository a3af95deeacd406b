"""What can be asked of a store without photos and runs, and of names that are hostile."""

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import taistore
from taistore.exporting.sidecars.keyword_names import keyword_of
from taistore.project import Project
from taistore_cli.main import main
from tests.fakes import ColourEncoder, colour_image
from tests.faults.hostile_names import UNSAFE, names


def typed(store: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--store", store])


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> str:
    taistore.register_encoder("colours", ColourEncoder)
    store = tmp_path_factory.mktemp("empty") / "a store"
    return taistore.create(store, labels=["red", "blue"], encoder="colours").uri


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("photo") / "red.png"
    colour_image("red").save(path)
    return str(path)


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("find red", "holds no photos yet: add some with 'taistore ingest-images photos/"),
        ("find --label red", "holds no photos yet"),
        ("find --not red", "holds no photos yet"),
        ("find --like PHOTO", "holds no photos yet"),
        ("export latest --to xmp", "none yet: 'taistore train"),
        ("export latest --to coco --out c.json", "none yet: 'taistore train"),
        ("diff latest latest", "none yet: 'taistore train"),
        ("export-scores latest --out s.npy", "none yet: 'taistore train"),
        ("show nowhere.jpg", "no such file"),
        ("find --label 'a b'", "add it by taistore labels add 'a b' --store "),
        ("labels rename green blau", "label 'green' is not in the label set"),
    ],
    ids=lambda value: value.split(" --out")[0] if isinstance(value, str) else "",
)
def test_what_an_empty_store_cannot_say_is_one_line(
    empty: str, photo: str, command: str, said: str, as_json: list[str]
) -> None:
    done = typed(empty, *shlex.split(command.replace("PHOTO", photo)), *as_json)
    assert (done.exit_code, done.stdout) == (1, ""), done.output
    (line,) = done.stderr.splitlines()
    assert said in line
    # The command that mends it can be typed as it stands.
    assert ("'taistore" in line) == (f"--store {shlex.quote(empty)}'" in line)


def test_what_an_empty_store_can_say(empty: str, photo: str) -> None:
    assert typed(empty, "labels").stdout == "red\nblue\n"
    listed = json.loads(typed(empty, "labels", "--json").stdout)["labels"]
    assert [row["key"] for row in listed] == ["red", "blue"]
    assert json.loads(typed(empty, "runs", "--json").stdout) == {"runs": []}
    report = json.loads(typed(empty, "show", photo, "--json").stdout)
    assert (report["stored"], report["tags"], report["texts"], report["photos"]) == (
        *(False, [], [], []),
    )
    assert len(report["notes"]) == 3


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Photos with hostile names, each with a label that is called the same."""
    taistore.register_encoder("colours", ColourEncoder)
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "photos").mkdir()
    found = [name for name in names() if name.strip() and name not in (".", "..")][::4]
    labels = list(dict.fromkeys(keyword_of(name) for name in found if keyword_of(name)))
    for number, name in enumerate(found):
        size = (40 + number % 20, 30 + number // 20)
        colour_image("red", size=size).save(folder / "photos" / f"{name[:60]}{number}.png")
    project = taistore.create(folder / "store", labels=labels, encoder="colours")
    project.ingest_images(folder / "photos", regions=0)
    project.generate_texts(5 * len(labels))
    project.train("zsl", epochs=1)
    return project


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_no_name_moves_the_cursor_or_breaks_a_line(
    hostile: Project, tmp_path: Path, as_json: list[str]
) -> None:
    photos = sorted((Path(hostile.uri).parent / "photos").iterdir())
    label = hostile.labels.keys[-1]
    every = ("--top-k", "3")
    commands = [
        ["labels"],
        ["find", "red", "--top-k", "100"],
        ["find", f"--label={label}", "--top-k", "100"],
        ["find", "red", "--out", str(tmp_path / "f.csv"), "--html", str(tmp_path / "f.html")],
        ["export", "latest", *every, "--to", "xmp", "--dry-run"],
        ["export", "latest", *every, "--to", "sidecar-json", "--out", str(tmp_path / "side")],
        ["export", "latest", *every, "--to", "imagefolder", "--out", str(tmp_path / "folder")],
        ["diff", "latest", "latest", *every, "--html", str(tmp_path / "d.html")],
        *(["show", "--", str(photo)] for photo in photos[::9]),
    ]
    for command in commands:
        # Options come before what follows "--".
        first, rest = command[:1], command[1:]
        done = CliRunner().invoke(main, [*first, "--store", hostile.uri, *as_json, *rest])
        assert done.exit_code == 0, (command, done.output)
        assert not UNSAFE & set(done.output.replace("\n", "")), command
        if as_json:
            json.loads(done.stdout)
