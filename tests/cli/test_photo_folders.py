"""Folders and manifests as people have them, from the command line: what is said of them, which
split they are, how their paths come back, and commands that can be typed as they are printed."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import taistore
from taistore.images.sources.given_paths import GivenPaths
from taistore.images.sources.open_source import CocoSource, FolderSource, ManifestSource
from taistore.labels import Label, LabelSet
from taistore_cli.main import main
from tests.fakes import COLOURS, ColourEncoder, colour_image
from tests.images.datasets import coco_text

NAMES = list(COLOURS)
STORE = "a shop"


class Loaded:
    """The encoder ``counted``; says how often it was loaded."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> ColourEncoder:
        self.times += 1
        return ColourEncoder()


@pytest.fixture
def loaded() -> Loaded:
    loads = Loaded()
    taistore.register_encoder("counted", loads)
    return loads


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: Loaded) -> Path:
    """A working folder with a store of colours and six photos."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAISTORE_STORE", raising=False)
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for number, name in enumerate(NAMES[:6]):
        folder = "photos/sub" if number > 3 else "photos"
        colour_image(name, NAMES[number + 1], size=(40 + number, 30)).save(
            tmp_path / folder / f"{name}.png"
        )
    (tmp_path / "labels.txt").write_text("\n".join(NAMES), encoding="utf-8")
    invoked("init", "labels.txt", "--encoder", "counted")
    loaded.times = 0
    return tmp_path


def invoked(*arguments: str, code: int = 0) -> Result:
    command = [*arguments, *(() if "--store" in arguments else ("--store", STORE))]
    done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done


def value(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(invoked(*arguments, "--json").stdout)
    return found


def typed(line: str) -> Result:
    """A command as a shell takes it from a printed line."""
    words = shlex.split(line)
    assert words[0] == "taistore"
    done = CliRunner().invoke(main, words[1:], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def manifest(path: str, rows: list[dict[str, Any]]) -> str:
    Path(path).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def uris(path: str) -> set[str]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {json.loads(line)["uri"] for line in lines}


def test_what_was_skipped_is_one_line_and_in_json(here: Path) -> None:
    for name in ("a.CR2", "b.dng", "c.mov", "photo", "c.xmp", "@eaDir/red.jpg"):
        (here / "photos" / name).parent.mkdir(exist_ok=True)
        (here / "photos" / name).touch()
    done = invoked("ingest-images", "photos")
    line = (
        "skipped: 2 RAW (export them as JPEG), 1 video (export frames as JPEG), "
        "1 without extension (name photos .jpg, .png, …)"
    )
    assert done.stderr.splitlines().count(line) == 1
    again = value("ingest-images", "photos")
    assert again["skipped"] == {"raw": 2, "videos": 1, "without_extension": 1}
    assert again["notes"] == [line]
    assert again["ignored"] == 6
    invoked("generate-texts", "--count", "60")
    invoked("train", "--task", "zsl", "--epochs", "1")
    assert value("score", "latest", "photos", "--out", "t.jsonl")["skipped"] == again["skipped"]


def test_a_folder_of_raw_files_says_so(here: Path) -> None:
    (here / "raw").mkdir()
    (here / "raw" / "a.nef").touch()
    done = invoked("ingest-images", "raw", code=1)
    assert "no images here (1 other files; skipped: 1 RAW (export them as JPEG))" in done.stderr


def test_the_printed_commands_work_as_they_stand(here: Path) -> None:
    (here / "photos" / "broken.jpg").write_bytes(b"no photo")
    first, _, following = invoked("ingest-images", "photos").stdout.splitlines()
    assert first.endswith("1 rejected (taistore show --rejects --store 'a shop')")
    assert "broken.jpg" in typed(first.rsplit("(", 1)[1].rstrip(")")).stdout
    assert following == "next: taistore generate-texts --store 'a shop'"
    typed(following.removeprefix("next: "))
    following = invoked("ingest-images", "photos").stdout.splitlines()[-1]
    assert following == "next: taistore train --task zsl --store 'a shop'"
    typed(following.removeprefix("next: ") + " --epochs 1")
    following = invoked("ingest-images", "photos").stdout.splitlines()[-1]
    assert following == "next: taistore score latest --out tags.parquet --store 'a shop'"
    typed(following.removeprefix("next: "))
    assert f"'taistore show --rejects --store {shlex.quote(STORE)}'" in invoked("show").stdout


def test_the_usual_store_is_not_named(
    here: Path, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAISTORE_STORE", STORE)
    done = CliRunner().invoke(main, ["ingest-images", "photos"], catch_exceptions=False)
    assert done.stdout.splitlines()[-1] == "next: taistore generate-texts"


def test_a_manifest_with_labels_is_there_to_learn_from(here: Path) -> None:
    rows = [
        {"image": f"photos/{n}.png", "labels": [n, NAMES[i + 1]]} for i, n in enumerate(NAMES[:4])
    ]
    invoked("ingest-images", manifest("m.jsonl", rows))
    invoked("generate-texts", "--count", "60")
    invoked("train", "--task", "pll", "--epochs", "1")
    invoked("train", "--task", "fsl", "--shots", "1", "--epochs", "1")
    refused = invoked("evaluate", "latest", code=1).stderr
    assert "split 'test' holds no images: name one of those that have them ('train' (4))" in refused
    assert "--split" in refused
    invoked("ingest-images", "m.jsonl", "--split", "test")
    assert value("evaluate", "latest")["split"] == "test"


def test_an_unknown_label_is_named_with_the_command_that_adds_it(here: Path) -> None:
    rows = [{"image": f"photos/{n}.png", "labels": [n, "a giraffe"]} for n in NAMES[:3]]
    done = invoked("ingest-images", manifest("m.jsonl", rows))
    assert "3 images: 3 added" in done.stdout
    assert (
        "labels that are not in the label set: 'a giraffe' (3); the photos are kept, and "
        "'taistore labels add 'a giraffe' --store 'a shop'' adds the first"
    ) in done.stdout
    assert value("ingest-images", "m.jsonl")["unknown_labels"] == {"a giraffe": 3}


def test_a_photo_that_never_decodes_loads_no_encoder(here: Path, loaded: Loaded) -> None:
    broken = here / "photos" / "broken.jpg"
    broken.write_bytes(b"no photo")
    assert value("ingest-images", "photos")["rejected"] == 1
    assert loaded.times == 1
    assert value("ingest-images", "photos")["rejected"] == 1
    assert loaded.times == 1
    # Mended it is encoded, and whatever is new is.
    colour_image("pink", size=(60, 60)).save(broken, "JPEG")
    assert value("ingest-images", "photos")["added"] == 1
    assert loaded.times == 2
    broken.write_bytes(b"another one")
    (here / "photos" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert value("ingest-images", "photos")["rejected"] == 2
    assert loaded.times == 3  # nobody had seen the torn one


def test_a_replaced_photo_names_the_prune(here: Path) -> None:
    invoked("ingest-images", "photos")
    colour_image("cyan", size=(50, 50)).save(here / "photos" / "red.png")
    done = invoked("ingest-images", "photos")
    told = next(line for line in done.stdout.splitlines() if "replaced" in line)
    assert "'taistore prune --apply --store 'a shop''" in told
    found = invoked("verify").stdout
    assert "name an image_id that table 'images' does not have" in found


@pytest.fixture
def trained(here: Path) -> Path:
    invoked("ingest-images", "photos", "--regions", "0")
    invoked("generate-texts", "--count", "60")
    invoked("train", "--task", "zsl", "--epochs", "1")
    return here


PATHS = {f"{name}.png" for name in NAMES[:4]} | {f"sub/{name}.png" for name in NAMES[4:6]}


def _scored(source: str, *options: str) -> set[str]:
    arguments = ("score", "latest", source, "--out", "t.jsonl", "--overwrite", *options)
    invoked(*arguments, "--regions", "0")
    return uris("t.jsonl")


def test_paths_come_back_as_they_were_given(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _scored("photos") == {f"photos/{path}" for path in PATHS}
    assert _scored("./photos/") == {f"photos/{path}" for path in PATHS}
    assert _scored("photos/red.png") == {"photos/red.png"}
    assert _scored(str(trained / "photos")) == {str(trained / "photos" / path) for path in PATHS}
    (trained / "door").symlink_to("photos")
    assert _scored("door") == {f"door/{path}" for path in PATHS}
    monkeypatch.chdir(trained / "photos" / "sub")
    store = ("--store", str(trained / STORE))
    assert _scored("..", *store) == {f"../{path}" for path in PATHS}
    assert _scored(".", *store) == {f"{name}.png" for name in NAMES[4:6]}
    # The store's own are absolute: it works from any folder.
    invoked("score", "latest", "--out", "own.jsonl", *store)
    assert uris("own.jsonl") == {str(trained / "photos" / path) for path in PATHS}


def test_a_manifests_paths_come_back_as_it_has_them(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest("m.jsonl", [{"image": f"photos/{path}"} for path in PATHS])
    assert _scored("m.jsonl") == {f"photos/{path}" for path in PATHS}
    (trained / "lists").mkdir()
    manifest("lists/m.jsonl", [{"image": "../photos/red.png"}])
    assert _scored("lists/m.jsonl") == {str(trained / "photos" / "red.png")}
    monkeypatch.chdir(trained / "lists")
    store = ("--store", str(trained / STORE))
    assert _scored("../m.jsonl", *store) == {f"../photos/{path}" for path in PATHS}


def test_a_job_goes_on_from_another_folder(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ("--store", str(trained / STORE))
    (trained / "photos" / "x.jpg").touch()
    options = ("--out", str(trained / "t.jsonl"), "--regions", "0", *store)
    invoked("score", "latest", "photos", *options, "--max-rejects", "0", code=1)
    (trained / "photos" / "x.jpg").unlink()
    monkeypatch.chdir(trained / "photos" / "sub")
    done = value("score", "latest", "..", *options)
    assert (done["images"], done["resumed"] > 0) == (6, True)
    assert uris(str(trained / "t.jsonl")) == {f"../{path}" for path in PATHS}


def test_tags_and_their_page_find_photos_by_the_paths_that_were_given(here: Path) -> None:
    labels = ("--labels", "labels.txt", "--html", "page.html")
    invoked("tag", "photos", *labels)
    assert uris("tags.jsonl") == {f"photos/{path}" for path in PATHS}
    assert Path("page.html").read_text(encoding="utf-8").count("data:image/") >= len(PATHS)
    # The same photos by another name are other paths in the file.
    assert value("tag", "photos", *labels)["tags"] is None
    assert value("tag", str(here / "photos"), *labels)["tags"] is not None
    assert uris("tags.jsonl") == {str(here / "photos" / path) for path in PATHS}


def test_which_sources_have_paths_of_their_own(here: Path) -> None:
    labels = LabelSet([Label("red", "red")])
    Path("c.json").write_text(coco_text([{"id": 1, "file_name": "red.png"}], [], ["red"]))
    coco = CocoSource(Path("c.json"), labels, photos="photos")
    assert GivenPaths.of_source("c.json", coco) is None
    folder = GivenPaths.of_source("photos", FolderSource("photos"))
    assert folder == GivenPaths(root=os.path.realpath("photos"), given="photos")
    assert folder.of(folder.root + "2/x.jpg") == folder.root + "2/x.jpg"
    rows = ManifestSource(manifest("m.jsonl", [{"image": "a.jpg"}]), labels)
    given = GivenPaths.of_source(Path("m.jsonl"), rows)
    assert given is not None
    assert [given.of(item.uri) for item in rows] == ["a.jpg"]
