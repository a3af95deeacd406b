"""Weights of pretrained tags: out of the cache, over the network, or one line why not."""

import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from taistore.encoders.open_clip.fetch import fetch_tag
from taistore.errors import EncoderError


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback that holds weights.pt."""
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "weights.pt").write_bytes(b"the weights")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def _in_cache(folder: Path, filename: str) -> Path:
    """Lay a file into a hub cache as huggingface_hub does."""
    repository = folder / "models--me--small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    path = repository / "snapshots" / "abc" / filename
    path.parent.mkdir(parents=True)
    path.write_bytes(b"cached")
    return path


@pytest.mark.parametrize(
    ("hub", "filename"),
    [
        ("me/small/", "open_clip_model.safetensors"),
        ("me/small/", "open_clip_pytorch_model.bin"),
        ("me/small/w.bin", "w.safetensors"),
        ("me/small/w.bin", "w.bin"),
        ("me/small/w.pt", "w.pt"),
    ],
)
def test_what_is_cached_needs_no_network(tmp_path: Path, hub: str, filename: str) -> None:
    path = _in_cache(tmp_path, filename)
    assert fetch_tag("small", "mine", {"hf_hub": hub}, tmp_path) == path


def test_offline_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"HF_HUB_OFFLINE is set.*encoder=packaged") as caught:
        fetch_tag("RN50", "openai", {"hf_hub": "me/small/"}, tmp_path)
    assert "open_clip:RN50/openai cannot be fetched" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_way_to_the_hub_is_noticed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port}")
    started = time.monotonic()
    with pytest.raises(EncoderError, match=r"127\.0\.0\.1 cannot be reached: .*encoder=packaged"):
        fetch_tag("small", "mine", {"hf_hub": "me/small/"}, tmp_path)
    assert time.monotonic() - started < 5  # huggingface_hub alone would try for a minute


def test_weights_with_an_address_are_downloaded_once(tmp_path: Path, server: str) -> None:
    entry = {"url": f"{server}/weights.pt"}
    path = fetch_tag("small", "mine", entry, tmp_path / "cache")
    assert path == tmp_path / "cache" / "weights.pt"
    assert path.read_bytes() == b"the weights"


def test_an_address_that_has_nothing_says_so(tmp_path: Path, server: str) -> None:
    with pytest.raises(EncoderError, match=r"small/mine cannot be fetched \(.*404"):
        fetch_tag("small", "mine", {"url": f"{server}/none.pt"}, tmp_path)
