"""How near does taistore come to the language model's server alone? Goal: 0.95 of its captions/s.

    python -m benchmarks.llm_overhead                  # echo server, engine and job
    python -m benchmarks.llm_overhead --real           # and the small real model on loopback

The bare client has as many threads, each with one kept connection, that send the same requests and
parse the answers as JSON: nothing is checked, retried or given back in between. "Engine" is
``OpenAIEngine``, "job" all of ``generate-texts`` into a fresh store: sampling, conversations,
audit, commits and vectors; beside a job, the bare client sends what the job sent. Every answer
counts, those that the audit refuses too. The echo server's job has the small encoder of the tests,
and with ``--encoder`` a real one as well, which the real model's job always has. All work in turn
within one run, the order changing every round, so that a busy machine disturbs all alike. Servers
run in processes of their own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.report import Table, write_report
from taistore.encoders.protocol import Encoder
from taistore.encoders.registry import load_encoder
from taistore.labels import Label, LabelSet
from taistore.store.store import Store
from taistore.texts.generate import generate_texts
from taistore.texts.generate_config import GenerateConfig
from taistore.texts.llm.chat import ChatReply, ChatRequest, Message
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.engines.completions import request_body
from taistore.texts.llm.engines.llama_server import local_server
from taistore.texts.llm.engines.openai import OpenAIEngine
from taistore.texts.llm.instructions import load_instructions
from taistore.texts.llm.model_sampling import Sampling
from tests.fakes import ColourEncoder

EXAMPLES = (
    ("a cat, a chair", "A cat sleeps on a wooden chair by the window."),
    ("a bus, a person", "A person waits for the red bus in the rain."),
    ("a dog, a bottle, a car", "A dog guards a bottle on the back seat of a car."),
)
THINGS = ("dog", "sofa", "bicycle", "train", "bird", "boat", "chair", "horse", "person", "sheep")


class Cost(NamedTuple):
    """Seconds a caption in one round, and of this process's CPU."""

    wall: float
    cpu: float


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency", type=float, nargs="*", default=[0.05, 0.2])
    parser.add_argument("--concurrency", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--seconds", type=float, default=4.0, help="of a round, about")
    parser.add_argument("--job-seconds", type=float, default=30.0, help="of a whole job; 0: none")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--encoder", help="also a job with this encoder behind the echo server")
    parser.add_argument("--real", action="store_true", help="also the small real model")
    parser.add_argument("--real-count", type=int, default=200, help="captions a round")
    given = parser.parse_args()
    rows: list[tuple[object, ...]] = []
    for latency in given.latency:
        with echo_server(latency) as url:
            name = f"echo after {latency * 1000:.0f} ms"
            for at_once in given.concurrency:
                count = int(given.seconds / latency * at_once)
                rows += compare(name, url, count, at_once, given.rounds)
    if given.job_seconds:
        count = int(given.job_seconds / 0.1 * 8)
        for spec in (None, given.encoder) if given.encoder else (None,):
            with echo_server(0.1) as url:
                name = f"echo after 100 ms{f', encoder {spec}' if spec else ''}"
                rows += compare_job(name, url, count, 8, given.rounds, encoder=_encoder(spec))
    if given.real:
        spec = given.encoder or "packaged"
        with local_server(slots=8) as url:
            name = f"SmolLM2-135M, 1 thread, encoder {spec}"
            rows += compare_job(
                name, url, given.real_count, 8, given.rounds, encoder=_encoder(spec)
            )
    columns = (
        "server",
        "requests at once",
        "captions a round",
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
            "The bare client keeps as many connections and threads and only parses JSON. A job's "
            "row holds its start, its end and its commits too: the longer it runs, the less they "
            "weigh."
        ),
        tables=[Table(columns, rows)],
    )
    print(path.read_text(encoding="utf-8"))


def compare(
    name: str, url: str, count: int, concurrency: int, rounds: int
) -> list[tuple[object, ...]]:
    """The rows of bare client and engine on one server, with the same requests."""
    requests = [_request(number) for number in range(count)]
    with OpenAIEngine(url, concurrency=concurrency) as engine:
        model = engine.model
        clients: dict[str, Callable[[], int]] = {
            "bare": lambda: bare_client(url, model, requests, concurrency),
            "engine": lambda: sum(reply.text is not None for reply in engine.chat(requests)),
        }
        return _rows(name, concurrency, count, _in_turn(clients, rounds))


def compare_job(
    name: str, url: str, count: int, concurrency: int, rounds: int, *, encoder: Encoder
) -> list[tuple[object, ...]]:
    """The rows of a whole job and of the bare client with the requests of such a job."""
    with Listening(url, concurrency=concurrency) as engine:
        model = engine.model
        requests = whole_job(engine, encoder, count, concurrency)
        clients: dict[str, Callable[[], int]] = {
            "bare": lambda: bare_client(url, model, requests, concurrency),
            "job": lambda: len(whole_job(engine, encoder, count, concurrency)),
        }
        return _rows(name, concurrency, len(requests), _in_turn(clients, rounds))


def _in_turn(clients: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[Cost]]:
    """Each client's costs round by round, after one that does not count."""
    measured: dict[str, list[Cost]] = {key: [] for key in clients}
    clients["bare"]()
    order = list(clients.items())
    for number in range(rounds):
        for key, client in order if number % 2 else reversed(order):
            measured[key].append(_timed(client))
    return measured


def _rows(
    name: str, concurrency: int, count: int, measured: dict[str, list[Cost]]
) -> list[tuple[object, ...]]:
    return [
        (
            name,
            concurrency,
            count,
            key,
            1 / statistics.median(cost.wall for cost in costs),
            1000 * statistics.median(cost.cpu for cost in costs),
            _spread(measured["bare"], costs),
        )
        for key, costs in measured.items()
    ]


def _spread(bare: Sequence[Cost], ours: Sequence[Cost]) -> str:
    ratios = [b.wall / o.wall for b, o in zip(bare, ours, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}, {max(ratios):.3f})"


class Listening(OpenAIEngine):
    """Keeps the requests of which it saw the answer."""

    def __init__(self, base_url: str, *, concurrency: int) -> None:
        super().__init__(base_url, concurrency=concurrency)
        self.answered: list[ChatRequest] = []

    def chat(self, requests: Sequence[ChatRequest]) -> Iterator[ChatReply]:
        """The engine's replies."""
        asked = {request.request_id: request for request in requests}
        for reply in super().chat(requests):
            if reply.text is not None:
                self.answered.append(asked[reply.request_id])
            yield reply


def whole_job(
    engine: Listening, encoder: Encoder, count: int, concurrency: int
) -> list[ChatRequest]:
    """Generate ``count`` texts into a store of its own; returns the requests that were answered."""
    labels = LabelSet([Label(key=name, name=name) for name in THINGS])
    engine.answered = []
    writer = ConversationWriter(
        engine,
        labels,
        name="openai",
        prompts=load_instructions("few-shot"),
        sampling=Sampling(max_tokens=30),
        lanes=concurrency,
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(folder, labels, default_encoder=encoder.info.spec)
        generate_texts(store, encoder, GenerateConfig(count=count), writer=writer)
    return engine.answered


def _encoder(spec: str | None) -> Encoder:
    return load_encoder(spec) if spec else ColourEncoder(context_length=64)


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


def _timed(client: Callable[[], int]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    answered = client()
    return Cost((time.perf_counter() - wall) / answered, (time.process_time() - cpu) / answered)


if __name__ == "__main__":
    main()
