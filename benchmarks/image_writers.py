"""How near do the image writers come to what draws for them alone? Goal: 0.95 per CPU second.

    python -m benchmarks.image_writers --model FOLDER   # a pipeline of your own
    python -m benchmarks.image_writers                  # a tiny random one, and a loopback server

"Bare" calls the pipeline with the same texts, noise and batches; of the server, as many threads
with one kept connection each send the same requests and decode what comes. All work in turn within
one run, the order changing every round, so that a busy machine disturbs all alike. Peak memory is
of a process for each. The server runs in a process of its own.
"""

import argparse
import base64
import importlib
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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch

from benchmarks.report import Table, write_report
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.synthetic.image_writer import ImageRequest, StoredText, numbered
from taistore.synthetic.writers.diffusers_writer import diffusers_writer
from taistore.synthetic.writers.openai_images import openai_images_writer
from tests.diffusers.tiny_pipelines import save_stable_diffusion
from tests.faults.server import Exchange, FaultServer

BATCH = 4
CONCURRENCY = 4
LATENCY = 0.05
COLUMNS = ("", "images a round", "images / CPU s", "per CPU s / bare (rounds from, to)", "peak MiB")

Draw = Callable[[Sequence[ImageRequest]], int]


def main() -> None:
    """Measure and write the report, or be one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a folder or a name on the hub; default: a tiny random one")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--count", type=int, default=16, help="images drawn a round")
    parser.add_argument("--served", type=int, default=200, help="images of the server a round")
    parser.add_argument("--bytes", type=int, default=1_500_000, help="of an image of the server")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["serve", "bare", "writer", "bare-http", "openai"])
    parser.add_argument("--url")
    given = parser.parse_args()
    if given.only == "serve":
        serve(given.bytes)
    elif given.only:
        with _client(given.only, given) as (draw, count):
            draw(_requests(count))
        sys.stdout.write(f"{peak_bytes()}\n")
    else:
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """All rounds, then the report."""
    with tempfile.TemporaryDirectory() as folder:
        given.model = given.model or str(save_stable_diffusion(Path(folder)))
        drawn = compare(given, "bare", "writer")
        with _process(given, "serve") as url:
            given.url = url
            served = compare(given, "bare-http", "openai")
    path = write_report(
        "image-writers",
        title="Image writers against what draws for them",
        text=(
            f"Median of {given.rounds} rounds in turn; the goal is 0.95 of the bare rate. Drawn: "
            f"{given.size} x {given.size} pixels in {given.steps} steps, {BATCH} at once. Served: "
            f"{given.bytes / 1e6:g} MB each after {LATENCY * 1000:.0f} ms, {CONCURRENCY} requests "
            "at once; the server's process is not counted."
        ),
        tables=[
            Table(COLUMNS, drawn, "`diffusers` beside its pipeline:"),
            Table(COLUMNS, served, "`openai` beside bare requests:"),
        ],
    )
    sys.stdout.write(path.read_text(encoding="utf-8"))


def compare(given: argparse.Namespace, bare: str, ours: str) -> list[tuple[object, ...]]:
    """The rows of both."""
    seconds: dict[str, list[float]] = {bare: [], ours: []}
    with _client(bare, given) as (first, count), _client(ours, given) as (second, _):
        clients = [(bare, first), (ours, second)]
        requests = _requests(count)
        for _, draw in clients:
            draw(requests)
        for number in range(given.rounds):
            for key, draw in clients if number % 2 else reversed(clients):
                began = time.process_time()
                assert draw(requests) == count
                seconds[key].append(time.process_time() - began)
    rows: list[tuple[object, ...]] = []
    for key, took in seconds.items():
        ratios = [b / o for b, o in zip(seconds[bare], took, strict=True)]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f}, {max(ratios):.3f})"
        with _process(given, key) as peak:
            mebibytes = int(peak) >> 20
        rows.append((key, count, count / statistics.median(took), spread, mebibytes))
    return rows


@contextmanager
def _client(name: str, given: argparse.Namespace) -> Iterator[tuple[Draw, int]]:
    if name == "bare":
        pipeline = bare_pipeline(given.model)
        yield lambda requests: draw_bare(pipeline, requests, given), given.count
    elif name == "writer":
        with diffusers_writer(
            per_text=1,
            seed=0,
            model=given.model,
            batch=BATCH,
            steps=given.steps,
            size=given.size,
        ) as writer:
            yield (
                lambda requests: sum(a.image is not None for a in writer.write(requests)),
                given.count,
            )
    elif name == "bare-http":
        yield lambda requests: fetch_bare(given.url, requests), given.served
    else:
        with openai_images_writer(
            per_text=1, seed=0, base_url=given.url, concurrency=CONCURRENCY
        ) as server:
            yield (
                lambda requests: sum(a.image is not None for a in server.write(requests)),
                given.served,
            )


def bare_pipeline(model: str) -> Any:
    """The pipeline as its documentation loads it."""
    library: Any = importlib.import_module("diffusers")
    cuda = torch.cuda.is_available()
    pipeline = library.AutoPipelineForText2Image.from_pretrained(
        model, dtype=torch.float16 if cuda else torch.float32, use_safetensors=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if cuda else "cpu")


def draw_bare(pipeline: Any, requests: Sequence[ImageRequest], given: argparse.Namespace) -> int:
    """How many were drawn."""
    drawn = 0
    for start in range(0, len(requests), BATCH):
        batch = requests[start : start + BATCH]
        noise = [torch.Generator().manual_seed(request.seed or 0) for request in batch]
        drawn += len(
            pipeline(
                prompt=[request.text.text for request in batch],
                generator=noise,
                num_inference_steps=given.steps,
                height=given.size,
                width=given.size,
            ).images
        )
    return drawn


def fetch_bare(url: str, requests: Sequence[ImageRequest]) -> int:
    """As many threads as connections, a shared list of requests; returns how many came."""
    parts = urlsplit(url)
    waiting = iter(requests)
    lock = threading.Lock()
    sizes: list[int] = []

    def work() -> None:
        connection = HTTPConnection(parts.hostname or "", parts.port)
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                break
            body = json.dumps({"prompt": request.text.text, "n": 1, "response_format": "b64_json"})
            headers = {"Content-Type": "application/json"}
            connection.request("POST", f"{parts.path}/images/generations", body, headers)
            answer = json.loads(connection.getresponse().read())
            sizes.append(len(base64.b64decode(answer["data"][0]["b64_json"])))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(CONCURRENCY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(sizes)


def serve(size: int) -> None:
    """Answer with ``size`` random bytes until standard input ends."""
    data = base64.b64encode(np.random.default_rng(0).bytes(size)).decode()
    body = json.dumps({"created": 1, "data": [{"b64_json": data}]}).encode()

    def behave(exchange: Exchange) -> None:
        exchange.wait(LATENCY)
        exchange.send(body)

    with FaultServer(behave) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


@contextmanager
def _process(given: argparse.Namespace, only: str) -> Iterator[str]:
    """The first line that a process of this program writes, which lives until the block ends."""
    options = [f"--{key}={value}" for key, value in vars(given).items() if value and key != "only"]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.image_writers", "--only", only]
    with subprocess.Popen(
        [*command, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _requests(count: int) -> list[ImageRequest]:
    texts = [StoredText(f"t{n}", n, f"a photo of {n} dogs on a sofa") for n in range(count)]
    return list(numbered(texts, 1, seed=0))


if __name__ == "__main__":
    main()
