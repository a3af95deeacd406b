"""Fixtures that every test folder shares."""

import os
from pathlib import Path

import pytest

# Tests run in parallel processes on few cores: one thread each, and no hub look-ups.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos, vectors and captions beside the checkout; skips without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data (real photos and vectors), which is not here")
    return SHARED_DATA
