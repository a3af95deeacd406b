"""Bad input through the command line: one line that names the place and the remedy, exit code 1."""

import json
import struct
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from taistore_cli.main import main
from tests.images.odd_files import without_rights

ENCODER = "packaged:lite0@224"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "labels.txt").write_text("cat\ndog\ncup\n", encoding="utf-8")
    init = ["init", str(folder / "labels.txt"), "--encoder", ENCODER, "--store", str(folder / "s")]
    assert CliRunner().invoke(main, init).exit_code == 0
    return folder / "s"


def refused(*arguments: str | Path) -> str:
    """The one line that a refused command prints."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--quiet"])
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("loading encoder")]
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]


def png(path: Path, width: int, height: int) -> Path:
    """A PNG whose header claims this size; its pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = (
        struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT")
    return path


def rejects(store: Path) -> dict[str, str]:
    result = CliRunner().invoke(main, ["show", "--rejects", "--json", "--store", str(store)])
    return {Path(row["uri"]).name: row["reason"] for row in json.loads(result.stdout)["rejects"]}


def test_labels(tmp_path: Path) -> None:
    missing = refused("init", tmp_path / "none.txt", "--store", tmp_path / "s")
    assert "none.txt: no such label file" in missing
    (tmp_path / "empty.txt").write_text("")
    assert "is empty" in refused("init", tmp_path / "empty.txt", "--store", tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("clip", "unknown encoder 'clip'"),
        ("packaged:lite9", "lite0"),
        ("open_clip:RN5/openai", "RN50"),
        ("open_clip:RN50//no/such/file.pt", "file.pt"),
    ],
)
def test_encoders(tmp_path: Path, spec: str, message: str) -> None:
    (tmp_path / "l.txt").write_text("cat\n")
    arguments = ("init", tmp_path / "l.txt", "--encoder", spec, "--store", tmp_path / "s")
    assert message in refused(*arguments)
    assert not (tmp_path / "s").exists()


def test_no_hub_names_the_packaged_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    (tmp_path / "l.txt").write_text("cat\n")
    line = refused("init", tmp_path / "l.txt", "--store", tmp_path / "s")
    assert "--encoder packaged" in line


def test_store(tmp_path: Path, store: Path) -> None:
    assert "taistore init" in refused("train", "--store", tmp_path / "none")
    other = refused("train", "--encoder", "packaged:lite2@384", "--store", store)
    assert "holds no vectors of encoder packaged:lite2@384" in other
    assert "no run 'zsl-1'" in refused("evaluate", "zsl-1", "--store", store)
    (tmp_path / "l.txt").write_text("bird\n")
    labels = refused("init", tmp_path / "l.txt", "--encoder", ENCODER, "--store", store)
    assert "other labels" in labels


def test_training_without_texts_names_the_command(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("cat\n")
    init = ["init", str(tmp_path / "l.txt"), "--encoder", ENCODER, "--store", str(tmp_path / "s")]
    CliRunner().invoke(main, init)
    assert "taistore generate-texts" in refused("train", "--store", tmp_path / "s")


def test_a_long_text_is_set_aside_and_the_rest_is_kept(tmp_path: Path, store: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    long = "a cat " * 300
    rows = [{"text": "a cat on a chair"}, {"text": long}, {"text": "a cup", "labels": ["cup"]}]
    captions.write_text("\n".join(map(json.dumps, rows)) + "\nnot json\n", encoding="utf-8")
    arguments = ["ingest-texts", str(captions), "--store", str(store), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["written"], found["rejected"]) == (2, 2)
    assert rejects(store)["captions.jsonl:2"] == "too_long"


def test_a_folder_without_images(tmp_path: Path, store: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    line = refused("ingest-images", tmp_path, "--store", store)
    assert str(tmp_path) in line
    assert str(tmp_path / "none") in refused("ingest-images", tmp_path / "none", "--store", store)


def test_bad_images_are_set_aside_and_good_ones_kept(tmp_path: Path, store: Path) -> None:
    Image.new("RGB", (64, 48), (200, 30, 30)).save(tmp_path / "good.jpg")
    whole = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "folder.jpg").mkdir()
    png(tmp_path / "huge.png", 30_000, 30_000)
    arguments = ["ingest-images", str(tmp_path), "--store", str(store), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    reasons = rejects(store)
    assert reasons["truncated.jpg"] == "truncated"
    assert reasons["empty.jpg"] == "empty"
    assert reasons["text.jpg"] == "not_an_image"
    assert reasons["huge.png"] == "too_large"
    assert "good.jpg" not in reasons
    too_many = refused("ingest-images", tmp_path, "--max-rejects", "1", "--store", store)
    assert "--max-rejects" in too_many or "rejected" in too_many


def test_no_permission_to_read(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\n")
    labels.chmod(0)
    with without_rights():
        line = refused("init", labels, "--encoder", ENCODER, "--store", tmp_path / "s")
    # Without root's rights even the folder of the test may be out of reach.
    assert "labels.txt" in line
    assert "permission" in line.lower()


def test_a_manifest_with_a_label_outside_the_set(tmp_path: Path, store: Path) -> None:
    Image.new("RGB", (40, 40), (30, 200, 30)).save(tmp_path / "a.png")
    Image.new("RGB", (40, 40), (30, 30, 200)).save(tmp_path / "b.png")
    rows = [
        {"image": "a.png", "labels": ["cat"]},
        {"image": "b.png", "labels": ["cats'; DROP TABLE images"]},
        {"image": "gone.png", "labels": ["dog"]},
    ]
    manifest = tmp_path / "photos.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    arguments = ["ingest-images", str(manifest), "--store", str(store), "--json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    # A photo whose label the store lacks is kept.
    assert (found["added"], found["rejected"]) == (2, 1)


def test_score_into_an_unknown_format(store: Path, tmp_path: Path) -> None:
    line = refused("score", "latest", "--out", tmp_path / "tags.xlsx", "--store", store)
    assert "no run" in line or ".parquet" in line


def test_wrong_usage_is_exit_code_2(store: Path) -> None:
    for arguments in (["train", "--task", "magic"], ["score"], ["demo", "--photos", str(store)]):
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 2, result.output
