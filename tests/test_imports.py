"""Imports point one way, and only one package talks to each heavy library."""

import grimp
import pytest

GRAPH = grimp.build_graph("taistore", "taistore_cli", include_external_packages=True)

LAYERS = (
    ("taistore_cli",),
    ("taistore.reproduction",),
    ("taistore.evaluation",),
    ("taistore.scoring",),
    ("taistore.texts", "taistore.images", "taistore.adapter"),
    ("taistore.encoders", "taistore.geometry"),
    ("taistore.store",),
    ("taistore.contracts", "taistore.labels", "taistore.errors", "taistore.progress"),
)
"""Top first: a module imports from its own layer's package and from layers below."""

BOTTOM_FOR_ALL = ("taistore.encoders.protocol",)
"""Types that the store shares with the encoders; it imports nothing of taistore."""

ONLY_IN = {
    "lancedb": ("taistore.store",),
    "lance": ("taistore.store",),
    "open_clip": ("taistore.encoders",),
    "timm": ("taistore.encoders",),
    "sentence_transformers": ("taistore.encoders",),
    "transformers": ("taistore.encoders",),
    "httpcore2": ("taistore.texts.llm.engines",),
    "httpx2": ("taistore.texts.llm.engines",),
    "openai": ("taistore.texts.llm.engines",),
    "vllm": ("taistore.texts.llm.engines",),
    "xllamacpp": ("taistore.texts.llm.engines",),
}


def _layer(module: str) -> int | None:
    if module in BOTTOM_FOR_ALL:
        return len(LAYERS) - 1
    for number, packages in enumerate(LAYERS):
        if any(module == package or module.startswith(package + ".") for package in packages):
            return number
    return None


def test_imports_point_down() -> None:
    wrong = []
    for importer in GRAPH.modules:
        upper = _layer(importer)
        for imported in GRAPH.find_modules_directly_imported_by(importer):
            lower = _layer(imported)
            if upper is not None and lower is not None and lower < upper:
                wrong.append(f"{importer} imports {imported}")
    assert wrong == []


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
