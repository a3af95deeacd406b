"""The vLLM engine for real, on a tiny random model; ``make test-vllm`` runs it on a CPU."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from taistore.errors import TextError
from taistore.texts.llm.chat import ChatRequest, Message
from taistore.texts.llm.engines.vllm import VllmEngine

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="needs vLLM in an environment of its own: make test-vllm",
)

CONTEXT = 256


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.vllm.tiny_model import save_tiny_model

    return save_tiny_model(tmp_path_factory.mktemp("tiny-qwen2"), context=CONTEXT)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[VllmEngine]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    # In this process, so that the test sees the engine's own memory come and go.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    with VllmEngine(str(folder), max_model_len=CONTEXT) as opened:
        yield opened


def request(number: int, said: str = "a dog and a sofa", **changes: float) -> ChatRequest:
    return ChatRequest(
        request_id=f"r{number}",
        messages=(Message("system", "write a caption"), Message("user", said)),
        temperature=changes.get("temperature", 1.0),
        max_tokens=int(changes.get("max_tokens", 12)),
        seed=number,
    )


def test_every_request_is_answered(engine: VllmEngine, folder: Path) -> None:
    # More prompt tokens than vLLM reads in one step, so that some would be read in pieces.
    wanted = [request(n, "a dog and a sofa " * 10) for n in range(300)]
    replies = {reply.request_id: reply for reply in engine.chat(wanted)}
    assert sorted(replies) == sorted(r.request_id for r in wanted)
    texts = [reply.text for reply in replies.values() if reply.text]
    assert len(texts) > 270
    assert len(set(texts)) > 240
    assert engine.model == folder.name


def test_a_seed_gives_the_same_text_in_the_same_batch(engine: VllmEngine) -> None:
    wanted = [request(n) for n in range(8)]
    assert list(engine.chat(wanted)) == list(engine.chat(wanted))


def test_bad_requests_cost_only_themselves(engine: VllmEngine) -> None:
    wanted = [
        request(0),
        request(1, "dog " * 1_000),
        request(2, temperature=-3.0),
        request(3),
    ]
    replies = {reply.request_id: reply for reply in engine.chat(wanted)}
    assert replies["r1"].reason == "prompt_too_long"
    assert "1,0" in replies["r1"].detail
    assert replies["r2"].reason == "refused_request"
    assert replies["r0"].reason == replies["r3"].reason == ""


def test_a_prompt_that_slips_through_costs_only_itself(
    engine: VllmEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # vLLM raises for the whole call over one prompt; the engine must not depend on its own count.
    monkeypatch.setattr(engine, "_longest", 10**9)
    wanted = [request(n, "dog " * 1_000 if n == 5 else "a dog") for n in range(12)]
    replies = {reply.request_id: reply for reply in engine.chat(wanted)}
    assert len(replies) == 12
    assert [n for n in range(12) if replies[f"r{n}"].reason == "refused_request"] == [5]


def test_an_answer_cut_at_its_bound_is_marked(engine: VllmEngine) -> None:
    replies = list(engine.chat([request(n, max_tokens=2) for n in range(20)]))
    assert any(reply.truncated for reply in replies)


def test_a_folder_without_a_model_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TextError, match="vLLM cannot load the model") as caught:
        VllmEngine(str(tmp_path)).__enter__()
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""
