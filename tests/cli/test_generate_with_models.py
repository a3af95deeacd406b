"""``generate-texts`` with a server on loopback, the packaged encoder and a real store."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from taistore.store.store import Store
from taistore_cli.main import main
from tests.faults.server import FaultServer, Json, echo, failing, first, poisoned

KEY = "sk-secret-1234567890"
LABELS = ("dog", "umbrella", "teapot", "bicycle")
WORDS = ("old", "green", "tiny", "wooden", "bright", "quiet", "dusty", "yellow", "broken", "heavy")
PLACES = ("harbour", "meadow", "kitchen", "station", "balcony", "forest", "market", "beach")
FEW = ("--count", "24", "--texts-per-combination", "2", "--max-labels", "2")


def answer(body: Json) -> str:
    """A caption with the labels of the question and some words that its seed decides."""
    asked = str(body["messages"][-1]["content"])
    if not any(name in asked for name in LABELS):
        asked = str(body["messages"][0]["content"])
    named = [f"a {name}" for name in LABELS if name in asked]
    seed = int(body["seed"])
    where = f"{WORDS[seed % 10]} {PLACES[seed // 10 % 8]} behind a {WORDS[seed // 80 % 10]} wall"
    return f'Sure! Here is a caption: "There is {" and ".join(named)} in the {where}."'


def generate(store: Path, *arguments: str) -> Result:
    command = ["generate-texts", "--store", str(store), *FEW, *arguments]
    return CliRunner().invoke(main, command, env={"OPENAI_API_KEY": KEY})


def result(outcome: Result) -> dict[str, Any]:
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout.count("\n") == 1
    value: dict[str, Any] = json.loads(outcome.stdout)
    return value


@pytest.fixture
def store(tmp_path: Path) -> Path:
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    path = tmp_path / "store"
    arguments = ["init", str(labels), "--encoder", "packaged:lite0@224", "--store", str(path)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    return path


def texts(store: Path) -> list[dict[str, Any]]:
    return [row for batch in Store.open(store).scan("texts") for row in batch.to_pylist()]


def test_captions_by_a_server_and_a_resume(store: Path, tmp_path: Path) -> None:
    with FaultServer(echo(answer=answer)) as server:
        to_server = ("--writer", "openai", "--base-url", server.url, "--concurrency", "3")
        done = result(generate(store, *to_server, "--temperature", "0.5", "--json"))
        assert done["written"] + done["rejected"] == done["requested"] == 24
        assert done["written"] >= 20
        asked = len(server.requests)
        again = result(generate(store, *to_server, "--temperature", "0.5", "--json"))
        assert (again["present"], again["written"]) == (done["written"], 0)
        assert again["rejected_earlier"] == done["rejected"]
        assert len(server.requests) == asked
        assert server.most_at_once <= 3
        body = server.requests[0]["body"]
        assert (body["temperature"], body["max_tokens"], body["model"]) == (0.5, 60, "echo-1")
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {KEY}"
    rows = texts(store)
    assert {(row["writer"], row["model"]) for row in rows} == {("openai", "echo-1")}
    assert all(row["text"].startswith("There is a ") for row in rows)
    for path in store.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()


def test_progress_and_result_for_people(store: Path) -> None:
    good = echo(answer=answer)
    with FaultServer(poisoned("teapot", failing(400, message="no teapots"), good)) as server:
        to_server = ("--writer", "openai", "--base-url", server.url)
        outcome = generate(store, *to_server)
        assert outcome.exit_code == 0, outcome.stderr
        assert "captions by echo-1" in outcome.stderr
        assert "writing texts: 24 of 24 texts" in outcome.stderr
        assert "unanswered:refused_request" in outcome.stdout
        assert "the same command asks for those again" in outcome.stdout
        assert KEY not in outcome.stdout + outcome.stderr
        server.behaviour = good
        healed = result(generate(store, *to_server, "--json"))
        assert healed["written"] > 0
        assert not [r for r in healed["rejects"] if r.startswith("unanswered")]


def test_failures_that_pass_are_no_rejects(store: Path) -> None:
    with FaultServer(first(4, failing(503), echo(answer=answer))) as server:
        to_server = ("--writer", "openai", "--base-url", server.url, "--instructions", "few-shot")
        done = result(generate(store, *to_server, "--json"))
        assert not [r for r in done["rejects"] if r.startswith("unanswered")]
        assert server.requests[-1]["body"]["messages"][0]["role"] == "system"


def test_a_refused_key_or_no_server_is_one_line(store: Path) -> None:
    with FaultServer(failing(401, message=f"bad key {KEY}")) as server:
        outcome = generate(store, "--writer", "openai", "--base-url", server.url)
        assert outcome.exit_code == 1
        assert "OPENAI_API_KEY" in outcome.stderr
        assert KEY not in outcome.stderr
        gone = server.url
    outcome = generate(store, "--writer", "openai", "--base-url", gone)
    assert outcome.exit_code == 1
    assert "no language model answers" in outcome.stderr
    assert outcome.stderr.strip().count("\n") == 0
    assert not texts(store)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--writer", "openai"], "--writer openai needs --base-url"),
        (["--writer", "vllm"], "--writer vllm needs --model"),
        (["--model", "m"], "--model has no meaning for --writer template"),
        (["--writer", "poet"], "no text writer 'poet': there are openai, template, vllm"),
        (
            ["--writer", "vllm", "--model", "m", "--base-url", "http://x"],
            "--base-url has no meaning for --writer vllm",
        ),
        (
            ["--writer", "openai", "--base-url", "http://x", "--gpu-memory", "0.5"],
            "--gpu-memory has no meaning for --writer openai",
        ),
        (
            ["--writer", "openai", "--base-url", "http://x", "--tensor-parallel", "2"],
            "--tensor-parallel has no meaning for --writer openai",
        ),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(arguments: list[str], message: str) -> None:
    outcome = CliRunner().invoke(main, ["generate-texts", "--store", "nowhere", *arguments])
    assert outcome.exit_code == 2
    assert message in outcome.stderr


def test_instructions_that_are_wrong_name_file_and_field(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[[instruction]]\nname = "a"\ntext = "no slot"\n')
    arguments = ("--writer", "openai", "--base-url", "http://127.0.0.1:9/v1")
    outcome = generate(store, *arguments, "--instructions", str(path))
    assert outcome.exit_code == 1
    assert "mine.toml: instruction 1: field 'text'" in outcome.stderr


def test_plausible_combinations_from_the_command_line(store: Path) -> None:
    done = result(generate(store, "--combinations", "plausible", "--json"))
    assert done["written"] + done["repeated"] == 24
