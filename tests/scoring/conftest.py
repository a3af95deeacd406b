"""What several tests of scoring begin with."""

from pathlib import Path

import pytest

from tests.fakes import colour_image
from tests.scoring.colours import PICTURES


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """All pictures as files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for n, colours in enumerate(PICTURES):
        colour_image(*colours).save(folder / f"{n:04d} {'-'.join(colours)}.png")
    return folder
