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
    assert _ran(trained, command, code=code, said=said).endswith("heavy:\n")


@pytest.mark.parametrize(
    ("command", "code", "said", "heavy"),
    [
        (["train", "--task", "zsl"], 1, "holds no texts", ""),
        (["train", "--resume", "nobody"], 1, "no run 'nobody'", ""),
        (["verify"], 0, "", "lancedb polars"),
        (["optimize"], 0, "", "lancedb"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_store_without_runs_needs_no_torch(
    tmp_path: Path, command: list[str], code: int, said: str, heavy: str
) -> None:
    taistore.create(tmp_path / "store", labels=["cat"], encoder="packaged:lite0@64")
    last = _ran(tmp_path / "store", command, code=code, said=said).splitlines()[-1]
    assert set(last.removeprefix("heavy:").split()) <= set(heavy.split())


def _ran(store: Path, command: list[str], *, code: int, said: str) -> str:
    """What the command writes to stderr, with the heavy modules that it loaded at the end."""
    ran = subprocess.run(
        [sys.executable, "-c", _RUN, *command, "--store", str(store)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    return ran.stderr
