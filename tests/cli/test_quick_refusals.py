"""What needs no model is shown or refused before torch is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

import taistore

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
        (["ingest-images", "/nowhere"], 1, "no such folder or file"),
        (["ingest-texts", "/nowhere"], 1, "captions are read from"),
        (["train", "--out", "s3://bucket/run"], 1, "--out is written to"),
        (["init", "/nowhere.txt"], 1, "no such label file"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_no_model_is_loaded(trained: Path, command: list[str], code: int, said: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, *command, "--store", str(trained)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    assert ran.stderr.endswith("heavy:\n"), ran.stderr
