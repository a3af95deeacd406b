"""Fixtures that every test folder shares."""

import os
import signal
from pathlib import Path

import pytest

# Tests run in parallel processes on few cores: one thread each, and no hub look-ups.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Whoever starts the tests in the background or with nohup has them ignore these, and what they
# start as well: a signal that is ignored stops no job, which is right there and nothing to test.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGTERM, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos, vectors and captions beside the checkout; skips without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs ../shared/data (real photos and vectors), which is not here")
    return SHARED_DATA


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Doctests are looked for in every module, but a helper here may do its work when imported."""
    helper = collection_path.suffix == ".py" and not collection_path.name.startswith("test_")
    return True if helper else None
