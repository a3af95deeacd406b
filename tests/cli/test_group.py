"""Every command: help, example, documentation, exit codes, light start."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from taistore_cli.main import main
from taistore_cli.reference import every_command, reference

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "lancedb", "lance", "pyarrow", "open_clip", "numpy", "PIL", "polars", "timm")


@pytest.mark.parametrize("name", [" ".join(words) for words in every_command()])
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert f"taistore {name}" in result.output.split("Example")[1], "the example shows the command"
    for option in ("--json", "--quiet", "--debug"):
        assert option in result.output


@pytest.mark.parametrize("name", [" ".join(words) for words in every_command()])
def test_every_command_has_its_file_and_the_readme_or_reference_names_it(name: str) -> None:
    module = name.split(maxsplit=1)[0].replace("-", "_")
    assert (ROOT / "cli" / "taistore_cli" / f"{module}.py").is_file()
    assert f"## taistore {name}\n" in (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_the_reference_is_up_to_date() -> None:
    written = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert written == reference(), "run 'make docs' and commit the result"


def test_wrong_usage_exits_with_2() -> None:
    assert CliRunner().invoke(main, ["optimize", "--keep-days", "minus"]).exit_code == 2
    assert CliRunner().invoke(main, ["no-such-command"]).exit_code == 2


def test_a_users_error_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["show", "--store", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "taistore init" in result.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["show", "--debug", "--store", str(tmp_path / "none")])
    assert type(result.exception).__name__ == "StoreError"


@pytest.mark.parametrize("code", ["import taistore", "import taistore_cli.main"])
def test_import_is_light(code: str) -> None:
    check = f"{code}; import sys; print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    assert _run_python("-c", check) == "[]"


def test_help_is_light() -> None:
    check = (
        "import sys; sys.argv = ['taistore', '--help']\n"
        "from taistore_cli.main import main\n"
        "try: main()\n"
        f"finally: print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    assert _run_python("-c", check).splitlines()[-1] == "[]"


def _run_python(*arguments: str) -> str:
    paths = f"{ROOT}:{ROOT / 'cli'}"
    done = subprocess.run(
        [sys.executable, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": paths, "PATH": "/usr/bin:/bin"},
    )
    return done.stdout.strip()
