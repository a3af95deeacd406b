"""The site of docs/: it builds without a warning, and loads nothing from elsewhere."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\bsrc=["']?https?:[^>]*>"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preconnect|preload|icon))[^>]*https?:[^>]*>"""
    r"""|url\(["']?https?:[^)]*\)""",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in ("mkdocs", "material", "mkdocstrings_handlers"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'taistore[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there_and_the_reference_is_filled(site: Path) -> None:
    sources = (ROOT / "docs").rglob("*.md")
    pages = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in sources}
    assert {page for page in pages if not (site / page).is_file()} == set()
    for page, shown in (("project", "generate_texts"), ("run", "on_error"), ("training", "shots")):
        assert shown in (site / "reference" / f"{page}.html").read_text(encoding="utf-8")


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    files = [path for path in site.rglob("*") if path.suffix in {".html", ".css"}]
    assert len(files) > 10
    found = {
        f"{path.relative_to(site)}: {match[0][:120]}"
        for path in files
        for match in LOADED.finditer(path.read_text(encoding="utf-8"))
    }
    assert found == set()


def test_the_search_for_loaded_files_finds_them() -> None:
    for text in (
        '<script src="https://a.example/b.js"></script>',
        '<link href="https://a.example/b.css" rel="stylesheet">',
        "@font-face{src:url(https://a.example/b.woff2)}",
    ):
        assert LOADED.search(text)
    assert not LOADED.search('<a href="https://a.example">')
