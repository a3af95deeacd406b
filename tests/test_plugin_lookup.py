"""Registered factories and entry points: which comes first, and what is said of a bad one."""

import sys
from pathlib import Path

import pytest

from taistore import plugins
from taistore.errors import PluginError

GROUP = "taistore.test_group"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages: ``good`` with two entry points, ``bad`` with two wrong."""
    for package, points in (
        ("good", f"[{GROUP}]\nthing = good:make\nother = good:make\n"),
        ("bad", f"[{GROUP}]\nbroken = bad:make\nnumber = good:NUMBER\n"),
    ):
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points)
    (tmp_path / "good.py").write_text("NUMBER = 3\n\ndef make(what='thing'):\n    return what\n")
    (tmp_path / "bad.py").write_text("raise RuntimeError('no\\nluck')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("good", "bad"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return tmp_path


def test_entry_points_are_found_and_listed_without_an_import(installed: Path) -> None:
    assert plugins.names(GROUP) == ["broken", "number", "other", "thing"]
    assert "good" not in sys.modules
    assert plugins.find(GROUP, "thing")(what="a thing") == "a thing"


def test_what_a_program_registers_comes_first(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "_registered", {})
    plugins.register(GROUP, "thing", lambda: "mine")
    plugins.register(GROUP, "another", lambda: "mine too")
    assert plugins.find(GROUP, "thing")() == "mine"
    assert plugins.names(GROUP) == ["another", "broken", "number", "other", "thing"]


def test_a_name_that_nobody_has_lists_those_that_there_are(installed: Path) -> None:
    with pytest.raises(PluginError, match=f"no 'thin' among {GROUP}: there are broken, number, "):
        plugins.find(GROUP, "thin")
    with pytest.raises(PluginError, match="there are none"):
        plugins.find("taistore.nothing", "thin")


def test_a_package_that_cannot_be_imported_is_named_in_one_line(installed: Path) -> None:
    with pytest.raises(PluginError) as error:
        plugins.find(GROUP, "broken")
    assert str(error.value) == (
        f"'broken' of {GROUP}, from the package bad, cannot be imported (RuntimeError: no luck): "
        "mend or uninstall that package"
    )
    with pytest.raises(PluginError, match="from the package bad, is no function"):
        plugins.find(GROUP, "number")


def test_a_package_whose_factory_fails_is_named(installed: Path) -> None:
    (installed / "good.py").write_text("def make(what):\n    return what.nothing\n")
    with pytest.raises(PluginError) as error:
        plugins.make(GROUP, "thing", "x")
    assert str(error.value) == (
        f"'thing' of {GROUP}, from the package good, cannot be loaded (AttributeError: 'str' "
        "object has no attribute 'nothing'): mend or uninstall that package"
    )
