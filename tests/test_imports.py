"""Imports point one way, and only one package talks to each heavy library."""

from collections import Counter

import grimp
import pytest

MOST_MODULES = 13

GRAPH = grimp.build_graph("taistore", "taistore_cli", include_external_packages=True)

LAYERS = (
    ("taistore_cli",),
    ("taistore.project", "taistore.health"),
    ("taistore.reproduction",),
    ("taistore.evaluation", "taistore.exporting", "taistore.finding"),
    ("taistore.scoring",),
    ("taistore.prompting",),
    ("taistore.adapter",),
    ("taistore.synthetic",),
    ("taistore.texts", "taistore.images"),
    ("taistore.geometry",),
    ("taistore.store",),
    ("taistore.encoders", "taistore.label_files"),
    ("taistore.contracts", "taistore.labels", "taistore.progress", "taistore.plugins"),
    (
        "taistore.devices",
        "taistore.defaults",
        "taistore.errors",
        "taistore.printable",
        "taistore.record_files",
        "taistore.stopping",
    ),
)
"""Top first: a module imports from its own package and from rows below, never from a sibling."""

SAME = {"taistore.run": "taistore.project", "taistore.jobs": "taistore.project"}
"""Modules and packages that are one with another: a project makes runs, which belong to it, and
what its methods do lies in jobs."""

ONLY_IN = {
    "lancedb": ("taistore.store",),
    "lance": ("taistore.store",),
    "obstore": ("taistore.store",),
    "open_clip": ("taistore.encoders",),
    "timm": ("taistore.encoders",),
    "sentence_transformers": ("taistore.encoders",),
    "transformers": ("taistore.encoders",),
    "diffusers": ("taistore.synthetic.writers",),
    "httpcore2": ("taistore.texts.llm.engines",),
    "httpx2": ("taistore.texts.llm.engines",),
    "openai": ("taistore.texts.llm.engines",),
    "vllm": ("taistore.texts.llm.engines",),
    "xllamacpp": ("taistore.texts.llm.engines",),
}


def _place(module: str) -> tuple[int, str] | None:
    """The row and the package of a module; None for what stands outside of the rows."""
    for part, whole in SAME.items():
        if module == part or module.startswith(part + "."):
            module = whole
    for row, packages in enumerate(LAYERS):
        for package in packages:
            if module == package or module.startswith(package + "."):
                return row, package
    return None


def test_imports_point_down() -> None:
    wrong = []
    for importer in GRAPH.modules:
        upper = _place(importer)
        for imported in GRAPH.find_modules_directly_imported_by(importer):
            lower = _place(imported)
            if upper is None or lower is None or upper[1] == lower[1]:
                continue
            if lower[0] <= upper[0]:
                wrong.append(f"{importer} imports {imported}")
    assert wrong == []


OUTSIDE = {"taistore", "taistore._extras"}
"""The front door itself, which loads what it opens, and a helper that imports by name."""


def test_every_module_has_its_place() -> None:
    ours = {m for m in GRAPH.modules if m.split(".", maxsplit=1)[0] == "taistore"}
    assert {m for m in ours if _place(m) is None} == OUTSIDE


def test_no_module_name_has_two_meanings() -> None:
    names = Counter(
        module.rsplit(".", maxsplit=1)[1]
        for module in GRAPH.modules
        if module.startswith("taistore.") and not GRAPH.find_children(module)
    )
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_no_folder_is_a_drawer() -> None:
    modules = [m for m in GRAPH.modules if m.startswith("taistore.") and not GRAPH.find_children(m)]
    held = Counter(module.rsplit(".", maxsplit=1)[0] for module in modules)
    assert {folder: n for folder, n in held.items() if n > MOST_MODULES} == {}


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_only_its_package_talks_to_a_library(library: str) -> None:
    there = library in GRAPH.modules
    importers = GRAPH.find_modules_that_directly_import(library) if there else set()
    allowed = ONLY_IN[library]
    assert [m for m in sorted(importers) if not m.startswith(allowed)] == []


def test_nothing_unpickles() -> None:
    # encoders.weights only names the error that torch.load(weights_only=True) raises.
    allowed = {"pickle": {"taistore.encoders.weights"}}
    for library in ("pickle", "dill", "joblib", "shelve"):
        there = library in GRAPH.modules
        importers = GRAPH.find_modules_that_directly_import(library) if there else set()
        assert importers <= allowed.get(library, set())
