"""Hostile names of files and labels through the commands: what is printed is plain text."""

import csv
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from taistore.images.sources.folder import FolderSource
from taistore.scoring.tags.read_tags import read_tags
from taistore_cli.main import main
from tests.fakes import COLOURS, colour_image
from tests.faults.hostile_names import UNSAFE, file_names, names

ENCODER = "packaged:lite0@224"


def printed(*arguments: str | Path, code: int = 0) -> str:
    """What a command prints on both streams, which must be plain."""
    result = CliRunner().invoke(main, [*map(str, arguments)])
    assert result.exit_code == code, result.output[-2000:]
    text = result.stdout + result.stderr
    assert not (UNSAFE - {"\n"}) & set(text)
    return result.stdout


def decoded(*arguments: str | Path) -> dict[str, Any]:
    """The one JSON object of a command."""
    value: dict[str, Any] = json.loads(printed(*arguments, "--json"))
    return value


@pytest.fixture(
    scope="module",
    params=[pytest.param(24, id="some"), pytest.param(1, id="all", marks=pytest.mark.faults)],
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose labels have hostile names, with photos that have too, and two runs.

    Of the names that there are it takes each, or a part.
    """
    step: int = request.param
    chosen = [*names()[::step], "a\u202eb", "a\x1b[2Jb"]
    folder = tmp_path_factory.mktemp("names")
    # A text file has one line end; what is around a key is cut off.
    lines = (name.replace("\r\n", "\n").replace("\r", "\n") for name in chosen)
    keys = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "name"])
        writer.writerows([key, f"red {n} {key}"] for n, key in enumerate(keys))
    photos = folder / "photos"
    photos.mkdir()
    colours = list(COLOURS)
    for n, name in enumerate(itertools.islice(file_names(), 0, None, step)):
        pair = colours[n % 12], colours[n // 12 % 12]
        with open(os.path.join(os.fsencode(photos), name), "wb") as file:  # noqa: PTH118, PTH123
            colour_image(*pair, size=(8 + n, 8)).save(file, "PNG")
    at = ("--store", folder / "store")
    printed("init", folder / "labels.csv", "--encoder", ENCODER, *at)
    printed("generate-texts", "--count", str(5 * len(keys)), *at)
    printed("ingest-images", photos, *at)
    stored = [item.uri for item in FolderSource(photos) if hasattr(item, "annotation")]
    rows = [
        {"image": uri, "labels": [key], "complete": True}
        for uri, key in zip(stored, keys * 2, strict=False)
    ]
    rows += [{"image": f"gone {name}.png", "labels": [name]} for name in chosen]
    (folder / "photos.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    printed("ingest-images", folder / "photos.jsonl", *at)
    printed("train", "--epochs", "1", *at)
    printed("train", "--epochs", "1", "--seed", "3", *at)
    return folder


def test_there_are_enough_names() -> None:
    assert len(set(names())) >= 200
    assert UNSAFE & set("".join(names()))


def test_what_is_shown_is_plain_and_json_keeps_the_names(folder: Path) -> None:
    at = ("--store", folder / "store")
    text = printed("show", "--rejects", *at)
    assert "gone a\\u202eb.png" in text
    assert "gone a\\x1b[2Jb.png" in text
    shown = decoded("show", "--rejects", *at)
    # A line for each reject: no name makes lines of its own.
    assert text.count("\nreject [") == len(shown["rejects"]) == shown["tables"]["rejects"]
    runs = [run["run_id"] for run in shown["runs"]]
    printed("evaluate", "latest", "--split", "train", *at)
    found = decoded("evaluate", "latest", "--split", "train", *at)
    assert "a\u202eb" in {label["key"] for label in found["labels"]}
    printed("compare", *runs, "--split", "train", *at)
    decoded("compare", *runs, "--split", "train", *at)


def test_tags_of_hostile_names_read_back(folder: Path) -> None:
    at = ("--store", folder / "store")
    out = folder / "tags.csv"
    printed("score", "latest", "--out", out, *at)
    plain = folder / "tags.parquet"
    printed("score", "latest", "--out", plain, *at)
    csv_rows = [(r["uri"], r["label_key"], r["label_name"]) for r in read_tags(out)]
    assert csv_rows == [(r["uri"], r["label_key"], r["label_name"]) for r in read_tags(plain)]
    with out.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            texts = (row["image_id"], row["uri"], row["label_key"], row["label_name"])
            assert not any(text.startswith(("=", "+", "-", "@", "\t", "\r")) for text in texts)
            float(row["score"])


@pytest.mark.parametrize("name", ["a\x1b[2J", "a\u202eb", "a\nb\rc", "a\u2066\x85"])
def test_errors_are_one_plain_line(tmp_path: Path, name: str) -> None:
    at = ("--store", tmp_path / name)
    for arguments, code in (
        (("init", tmp_path / f"{name}.txt", *at), 1),
        (("show", *at), 1),
        (("evaluate", name, *at), 1),
        (("train", f"--{name}"), 2),
        (("train", "--task", name), 2),
        ((name,), 2),
    ):
        result = CliRunner().invoke(main, [*map(str, arguments)])
        assert result.exit_code == code, result.output
        assert not (UNSAFE - {"\n"}) & set(result.stderr)
        if code == 1:
            assert result.stderr.count("\n") == 1
