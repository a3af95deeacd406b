"""Writers by name: those of taistore, their options, and one that another package adds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from taistore.errors import TaistoreError, TextError
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.generate import GenerateConfig, generate_texts
from taistore.texts.writers import open_writer
from tests.fakes import COLOURS, ColourEncoder
from tests.faults.server import FaultServer, echo

ROOT = Path(__file__).resolve().parents[2]
LABELS = LabelSet(Label(name, name) for name in list(COLOURS)[:6])


def test_a_writer_by_name_is_the_default_one(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "s", LABELS, default_encoder="colour@32")
    with open_writer("template", LABELS) as writer:
        first = generate_texts(store, ColourEncoder(), GenerateConfig(count=60), writer=writer)
    again = generate_texts(store, ColourEncoder(), GenerateConfig(count=60))
    assert (first.written, again.present) == (60, 60)


def test_a_server_is_asked_with_the_options_that_were_given() -> None:
    with (
        FaultServer(echo()) as server,
        open_writer(
            "openai", LABELS, base_url=server.url, concurrency=3, temperature=0.5
        ) as writer,
    ):
        assert (writer.name, writer.model, writer.lanes) == ("openai", "echo-1", 3)
        assert "temperature=0.5" in repr(writer.settings)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("poet", {}, "no text writer 'poet': there are openai, template, vllm"),
        ("template", {"model": "m"}, "model has no meaning for writer template: it takes no opt"),
        ("openai", {"gpu_memory": 0.5}, "gpu_memory has no meaning for writer openai: it takes b"),
        ("vllm", {"model": "m", "base_url": "x"}, "base_url has no meaning for writer vllm"),
        ("openai", {}, "writer openai needs base_url"),
        ("vllm", {}, "writer vllm needs model"),
        ("openai", {"base_url": "http://x", "temperature": 9.0}, "temperature is 9.0"),
        ("vllm", {"model": "m", "instructions": "no.toml"}, "no.toml: no such instructions"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TextError) as error, open_writer(name, LABELS, **options):
        pass
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package tests/plugins/haiku_writer, installed into a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    source = ROOT / "tests" / "plugins" / "haiku_writer"
    subprocess.run([*pip, "--no-index", "--target", str(folder), str(source)], check=True)
    return folder


def _taistore(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), str(ROOT), str(ROOT / "cli")])
    return subprocess.run(
        [sys.executable, "-m", "taistore_cli", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_writer_of_another_package_writes(installed: Path, tmp_path: Path) -> None:
    labels, store = tmp_path / "labels.txt", tmp_path / "store"
    labels.write_text("\n".join(LABELS.keys) + "\n", encoding="utf-8")
    encoder = ("--encoder", "packaged:lite0@224", "--store", str(store))
    assert _taistore(installed, "init", str(labels), *encoder).returncode == 0
    generate = ("generate-texts", "--store", str(store), "--count", "30", "--writer")
    done = _taistore(installed, *generate, "haiku", "--temperature", "0.5", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] == 30
    row = next(Store.open(store).scan("texts")).to_pylist()[0]
    assert (row["writer"], row["model"], row["temperature"]) == ("haiku", "1", 0.5)
    refused = _taistore(installed, *generate, "haiku", "--model", "m")
    assert refused.returncode == 2
    assert "--model has no meaning for --writer haiku: it takes --temperature" in refused.stderr
    broken = _taistore(installed, *generate, "broken")
    assert broken.returncode != 0
    assert "from the package haiku-writer, cannot be imported" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_what_is_wrong_with_a_plugin_is_one_of_our_errors() -> None:
    with pytest.raises(TaistoreError), open_writer("nobody", LABELS):
        pass
