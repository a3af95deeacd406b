"""The wheel: exactly two top-level packages, the data files that run time needs."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import taistore
from taistore._extras import require
from taistore.errors import MissingExtraError
from taistore_cli.main import main

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel_files(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    [wheel] = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_exactly_two_packages(wheel_files: set[str]) -> None:
    top = {name.split("/")[0] for name in wheel_files}
    assert top == {"taistore", "taistore_cli", f"taistore-{taistore.__version__}.dist-info"}


def test_the_wheel_holds_every_module_and_data_file(wheel_files: set[str]) -> None:
    for folder, package in (
        (ROOT / "taistore", "taistore"),
        (ROOT / "cli" / "taistore_cli", "taistore_cli"),
    ):
        for path in folder.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{package}/{path.relative_to(folder).as_posix()}" in wheel_files


def test_type_checkers_of_users_read_the_types(wheel_files: set[str]) -> None:
    assert "taistore/py.typed" in wheel_files


def test_the_lock_pins_every_direct_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["offline"], *extras["demo"], *extras["dev"]]
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    for requirement in wanted:
        name = requirement.split(">")[0].split("=")[0].split("[")[0].lower().replace("_", "-")
        assert name in pinned | {"taistore"}, f"{name}: run 'make lock'"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-smollm2.lock"])
def test_every_file_that_is_installed_has_a_hash(lock: str) -> None:
    entries = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    assert entries
    for entry in entries:
        assert re.fullmatch(r"[\w.-]+==\S+ .*?(--hash=sha256:[0-9a-f]{64} *)+", entry), entry


def test_a_missing_extra_is_one_line_with_the_command() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'taistore\[gpu\]'"):
        require("no_such_package_here", extra="gpu", purpose="neighbours on the GPU")


def test_version() -> None:
    assert taistore.__version__ in CliRunner().invoke(main, ["--version"]).output
