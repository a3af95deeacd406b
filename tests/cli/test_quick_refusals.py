"""What needs no model is shown or refused before torch is loaded."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import taistore
from taistore_cli.main import main
from tests.fakes import colour_image
from tests.killing import ROOT

_RUN = """
import sys
from taistore_cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    heavy = [name for name in ("torch", "lancedb", "polars") if name in sys.modules]
    print("heavy:", *heavy, file=sys.stderr)
    raise
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quick")
    project = taistore.create(folder / "store", labels=["cat", "dog"], encoder="packaged:lite0@64")
    project.generate_texts(20)
    project.train(task="zsl", epochs=1)
    return folder / "store"


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["show"], 0, ""),
        (["runs"], 0, ""),
        (["encoders"], 0, ""),
        (["score", "latest", "--out", "tags.xyz"], 1, "unknown format"),
        (["score", "latest", "--out", "s3://bucket/tags.csv"], 1, "--out is written to"),
        (["score", "latest", "/nowhere", "--out", "tags.csv"], 1, "no such folder or file"),
        (["score", "nobody", "--out", "tags.csv"], 1, "no run 'nobody'"),
        (["export", "nobody", "--to", "xmp"], 1, "no run 'nobody'"),
        (["export", "latest", "--to", "coco"], 1, "needs --out"),
        (["export", "gone.csv", "--to", "xmp"], 1, "not a readable file of tags"),
        (["diff", "gone.csv", "latest"], 1, "not a readable file of tags"),
        (["ingest-images", "/nowhere"], 1, "no such folder or file"),
        (["ingest-texts", "/nowhere"], 1, "captions are read from"),
        (["train", "--out", "s3://bucket/run"], 1, "--out is written to"),
        (["init", "/nowhere.txt"], 1, "no such label file"),
        (["find"], 1, "nothing to find"),
        (["find", "a dog"], 1, "holds no photos yet"),
        (["find", "--label", "dgo"], 1, "did you mean 'dog'?"),
        (["find", "a dog", "--out", "found.xyz"], 1, "unknown format"),
        (["show", "/nowhere.jpg"], 1, "no such file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_no_model_is_loaded(trained: Path, command: list[str], code: int, said: str) -> None:
    _quick(command, code, said, cwd=trained.parent)


@pytest.mark.parametrize(
    ("command", "code", "said", "heavy"),
    [
        (["train", "--task", "zsl"], 1, "holds no texts", []),
        (["train", "--resume", "nobody"], 1, "no run 'nobody'", []),
        (["centroids"], 1, "has known labels", []),
        (["verify"], 0, "", ["lancedb", "polars"]),
        (["optimize"], 0, "", ["lancedb"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_store_without_runs_needs_no_torch(
    tmp_path: Path, command: list[str], code: int, said: str, heavy: list[str]
) -> None:
    taistore.create(tmp_path / "store", labels=["cat"], encoder="packaged:lite0@64")
    said_and_loaded = _ran(command, code, said, cwd=tmp_path).splitlines()
    assert set(said_and_loaded[-1].removeprefix("heavy:").split()) <= set(heavy)


def _quick(command: list[str], code: int, said: str, *, cwd: Path) -> None:
    written = _ran(command, code, said, cwd=cwd)
    assert len(written.splitlines()) == (2 if said else 1), written
    assert written.endswith("heavy:\n"), written


def _ran(command: list[str], code: int, said: str, *, cwd: Path) -> str:
    """What a command writes to stderr, with the heavy modules that it loaded at the end."""
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, *command, "--store", "store"],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])},
    )
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    return ran.stderr


@pytest.fixture(scope="module")
def photos(trained: Path) -> Path:
    """A folder beside the store with what a user may have there."""
    folder = trained.parent
    (folder / "photos").mkdir()
    colour_image("red").save(folder / "photos" / "red.png")
    (folder / "empty").mkdir()
    (folder / "labels.txt").write_text("cat\ndog\n", encoding="utf-8")
    (folder / "other.txt").write_text("cat\nhorse\n", encoding="utf-8")
    (folder / "blank.txt").write_text("\n", encoding="utf-8")
    (folder / "mine.csv").write_text("key,name\n1,cat\n", encoding="utf-8")
    (folder / "header.csv").write_text("name,price\n", encoding="utf-8")
    pq.write_table(pa.table({"price": pa.array([], pa.float32())}), folder / "none.parquet")
    (folder / "report.html").write_text("<title>mine</title>", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["/nowhere"], "no such folder or file"),
        (["empty"], "empty: no images here"),
        (["photos", "--labels", "nowhere.txt"], "no such label file"),
        (["photos", "--labels", "blank.txt"], "the label file is empty"),
        (["photos", "--labels", "other.txt"], "a store with other labels is here"),
        (["photos", "--encoder", "packaged:lite0"], "default encoder is 'packaged:lite0@64', not"),
        (["photos", "--encoder", "packaged:lite7"], "packaged encoder 'lite7' is unknown"),
        (["photos", "--out", "tags.xyz"], "unknown format"),
        (["photos", "--out", "s3://bucket/tags.csv"], "--out is written to"),
        (["photos", "--out", "photos/red.png/tags.csv"], "cannot be written"),
        (["photos", "--out", "empty.csv/tags.csv", "--html", "photos"], "photos is a directory"),
        (["photos", "--out", "mine.csv"], "no file of tags, so that it is not replaced"),
        (["photos", "--out", "header.csv"], "no file of tags, so that it is not replaced"),
        (["photos", "--out", "none.parquet"], "no file of tags, so that it is not replaced"),
        (["photos", "--out", "report.csv"], "report.html is there already and is no page of tags"),
        (["photos", "--html", "labels.txt"], "labels.txt is there already and is no page of tags"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_tag_refuses_before_a_model_is_loaded(photos: Path, given: list[str], said: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*")}
    labels = [] if "--labels" in given else ["--labels", "labels.txt"]
    _quick(["tag", *given, *labels], 1, said, cwd=photos)
    assert {path: path.stat().st_mtime_ns for path in photos.rglob("*")} == before


@pytest.mark.parametrize("kind", ["file", "link to nothing", "link to a file"])
def test_tag_refuses_a_store_that_can_be_no_folder(photos: Path, tmp_path: Path, kind: str) -> None:
    match kind:
        case "file":
            (tmp_path / "store").write_bytes(b"mine")
        case "link to nothing":
            (tmp_path / "store").symlink_to("nowhere")
        case "link to a file":
            (tmp_path / "store").symlink_to(photos / "labels.txt")
    given = [str(photos / "photos"), "--labels", str(photos / "labels.txt")]
    _quick(["tag", *given], 1, "store is no folder: choose another --store", cwd=tmp_path)


def test_tags_that_are_up_to_date_need_no_model(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    out = str(tmp_path / "tags.csv")
    command = ["tag", "photos", "--labels", "labels.txt", "--out", out, "--quiet"]
    done = CliRunner().invoke(main, [*command, "--store", "store"])
    assert done.exit_code == 0, done.output
    # polars hashes the photos' ids, by which they are looked up.
    last = _ran(command, 0, "", cwd=photos).splitlines()[-1]
    assert last in ("heavy:", "heavy: polars")
