"""How near does taistore come to the language model's server alone? Goal: 0.95 of its captions/s.

    python -m benchmarks.llm_overhead                  # echo server, 50 to 200 ms an answer
    python -m benchmarks.llm_overhead --real           # and the small real model on loopback

The bare client has as many threads, each with one kept connection, that send the same requests and
parse the answers as JSON: nothing is checked, retried or given back in between. Both work in turn
within one run, the order changing every round, so that a busy machine disturbs both alike. Servers
run in processes of their own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.report import Table, write_report
from taistore.texts.chat import ChatRequest, Message
from taistore.texts.engines.completions import request_body
from taistore.texts.engines.llama_server import local_server
from taistore.texts.engines.openai import OpenAIEngine

EXAMPLES = (
    ("a cat, a chair", "A cat sleeps on a wooden chair by the window."),
    ("a bus, a person", "A person waits for the red bus in the rain."),
    ("a dog, a bottle, a car", "A dog guards a bottle on the back seat of a car."),
)
THINGS = ("dog", "sofa", "bicycle", "train", "bird", "boat", "chair", "horse", "person", "sheep")


class Cost(NamedTuple):
    """Seconds of one round, and of this process's CPU in it."""

    wall: float
    cpu: float


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, nargs="*", default=[0.05, 0.1, 0.2])
    parser.add_argument("--concurrency", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round, about")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--real", action="store_true", help="also the small real model")
    parser.add_argument("--real-count", type=int, default=32, help="captions a round")
    given = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    for latency in given.latency:
        with echo_server(latency) as url:
            for concurrency in given.concurrency:
                count = int(given.seconds / latency * concurrency)
                name = f"echo after {latency * 1000:.0f} ms"
                rows += compare(name, url, count, concurrency, given.rounds)
    if given.real:
        with local_server(slots=4) as url:
            rows += compare("SmolLM2-135M, 1 thread", url, given.real_count, 4, given.rounds)
    columns = (
        "server",
        "requests at once",
        "",
        "captions/s",
        "client's CPU ms a caption",
        "rate / bare client (rounds from, to)",
    )
    path = write_report(
        "llm-overhead",
        title="Chat engine against a bare client",
        text=(
            f"Median of {given.rounds} rounds in turn; the goal is 0.95 of the bare client's rate. "
            "The bare client keeps as many connections and threads and only parses JSON."
        ),
        tables=[Table(columns, rows)],
    )
    print(path.read_text(encoding="utf-8"))


def compare(
    name: str, url: str, count: int, concurrency: int, rounds: int
) -> list[tuple[object, ...]]:
    """The rows of one server: bare client and engine on the same requests."""
    requests = [_request(number) for number in range(count)]
    with OpenAIEngine(url, concurrency=concurrency) as engine:
        model = engine.model

        def bare() -> int:
            return bare_client(url, model, requests, concurrency)

        def ours() -> int:
            return sum(reply.text is not None for reply in engine.chat(requests))

        measured: dict[str, list[Cost]] = {"bare": [], "engine": []}
        _timed(bare, count)
        for number in range(rounds):
            pair = [("bare", bare), ("engine", ours)]
            for key, client in pair if number % 2 else reversed(pair):
                measured[key].append(_timed(client, count))
    ratios = [b.wall / o.wall for b, o in zip(measured["bare"], measured["engine"], strict=True)]
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}, {max(ratios):.3f})"
    return [
        (
            name,
            concurrency,
            key,
            count / statistics.median(cost.wall for cost in costs),
            1000 * statistics.median(cost.cpu for cost in costs) / count,
            spread if key == "engine" else 1,
        )
        for key, costs in measured.items()
    ]


def bare_client(url: str, model: str, requests: Sequence[ChatRequest], concurrency: int) -> int:
    """As many threads as connections, a shared list of requests; returns how many had a text."""
    parts = urlsplit(url)
    bodies = [json.dumps(request_body(r, model=model, limit="max_tokens")) for r in requests]
    waiting = iter(bodies)
    lock = threading.Lock()
    texts: list[str] = []

    def work() -> None:
        connection = HTTPConnection(parts.hostname or "", parts.port)
        while True:
            with lock:
                body = next(waiting, None)
            if body is None:
                break
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"{parts.path}/chat/completions", body, headers)
            answer = json.loads(connection.getresponse().read())
            texts.append(answer["choices"][0]["message"]["content"])
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(texts)


@contextmanager
def echo_server(latency: float) -> Iterator[str]:
    """The loopback server of the tests in a process of its own; gives its base URL."""
    command = [sys.executable, "-m", "tests.faults.server", "--latency", str(latency)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _request(number: int) -> ChatRequest:
    messages = [Message("system", "You write one short caption of a photo that shows all things.")]
    for things, caption in EXAMPLES:
        messages += [Message("user", things), Message("assistant", caption)]
    one, other = THINGS[number % 10], THINGS[(number // 10 + number + 1) % 10]
    messages.append(Message("user", f"a {one}, a {other}"))
    return ChatRequest(
        request_id=f"r{number}",
        messages=tuple(messages),
        temperature=0.9,
        max_tokens=30,
        seed=number,
    )


def _timed(client: Callable[[], int], count: int) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    written = client()
    cost = Cost(time.perf_counter() - wall, time.process_time() - cpu)
    # A few answers of a real model may be empty; more would make the rates incomparable.
    if written < 0.95 * count:
        raise SystemExit(f"only {written} of {count} requests were answered with a text")
    return cost


if __name__ == "__main__":
    main()
