"""The workflow calls the same make targets as people do, on every Python that is promised."""

import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def workflow() -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    found: dict[str, Any] = import_module("yaml").safe_load(text)
    return found


def test_its_make_targets_exist_and_are_those_of_the_checkout() -> None:
    steps = workflow()["jobs"]["test"]["steps"]
    called = [word for step in steps for word in re.findall(r"make (\S+)", step.get("run", ""))]
    rules = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert called == ["test", "demo"]
    assert set(called) <= set(rules)


def test_it_runs_on_the_oldest_python_that_is_allowed_and_later_ones() -> None:
    pythons = workflow()["jobs"]["test"]["strategy"]["matrix"]["python"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert pythons == ["3.11", "3.12", "3.13"]
    assert project["requires-python"] == f">={pythons[0]}"
