"""Small open_clip encoders, saved and loaded once for all tests that only use them."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the weights file of a small model (``small_models``) by its name."""
    from tests.encoders.small_models import save

    folder = tmp_path_factory.mktemp("small-models")
    known: dict[str, Path] = {}

    def weights(name: str) -> Path:
        if name not in known:
            known[name] = save(name, folder, filename=f"{name}.pt")
        return known[name]

    return weights
