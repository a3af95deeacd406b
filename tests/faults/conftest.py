"""An object store for the tests that ask for it; they skip where its server is not installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.object_server import BUCKET, environment, s3_server


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def here(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """This process talks to the server; runs work in a folder of the test's own."""
    for name, value in environment(server).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TAISTORE_RUNS", str(tmp_path / "machine"))
    return server


@pytest.fixture
def uri(request: pytest.FixtureRequest) -> str:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)
    return f"s3://{BUCKET}/{name}"
