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
import shutil
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
from PIL import Image

from benchmarks.report import Table, write_report
from taistore.encoders.registry import load_encoder
from taistore.images.decoding import decode_image
from taistore.labels import Label, LabelSet
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.store.store import Store
from taistore.synthetic.generate_images import generate_images
from taistore.synthetic.image_writer import ImageRequest, StoredText, numbered
from taistore.synthetic.image_writers import open_image_writer
from taistore.synthetic.writers.diffusers_writer import diffusers_writer
from taistore.synthetic.writers.openai_images import openai_images_writer
from taistore.texts.generate import GenerateConfig, generate_texts
from tests.diffusers.tiny_pipelines import save_stable_diffusion
from tests.faults.server import Exchange, FaultServer

BATCH = 4
ENCODED = 32
CONCURRENCY = 4
COLUMNS = (
    "",
    "images a round",
    "images / CPU s",
    "per CPU s / bare (rounds from, to)",
    "per s / bare (rounds from, to)",
    "peak MiB",
)
PHOTOS = 64
KINDS = ("serve", "bare", "writer", "bare-http", "openai", "bare-folder", "folder")

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
    parser.add_argument("--latency", type=float, default=0.05, help="seconds of the server's work")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--url")
    given = parser.parse_args()
    if given.only == "serve":
        serve(given.bytes, given.latency)
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
        found = compare(given, "bare-folder", "folder")
    path = write_report(
        "image-writers",
        title="Image writers against what draws for them",
        text=(
            f"Median of {given.rounds} rounds in turn; the goal is 0.95 of the bare rate. Drawn: "
            f"{given.size} x {given.size} pixels in {given.steps} steps, {BATCH} at once. Served: "
            f"{given.bytes / 1e6:g} MB each after {given.latency * 1000:.0f} ms, {CONCURRENCY} "
            f"requests at once; the server's process is not counted. From a folder: {PHOTOS} JPEG "
            "cut-outs of photos of scikit-image, read, decoded and encoded by "
            "the packaged encoder, and by the job put into a store."
        ),
        tables=[
            Table(COLUMNS, drawn, "`diffusers` beside its pipeline:"),
            Table(COLUMNS, served, "`openai` beside bare requests:"),
            Table(COLUMNS, found, "The whole job on a folder beside a bare loop over its files:"),
        ],
    )
    sys.stdout.write(path.read_text(encoding="utf-8"))


def compare(given: argparse.Namespace, bare: str, ours: str) -> list[tuple[object, ...]]:
    """The rows of both."""
    seconds: dict[str, list[float]] = {bare: [], ours: []}
    wall: dict[str, list[float]] = {bare: [], ours: []}
    with _client(bare, given) as (first, count), _client(ours, given) as (second, _):
        clients = [(bare, first), (ours, second)]
        requests = _requests(count)
        for _, draw in clients:
            draw(requests)
        for number in range(given.rounds):
            for key, draw in clients if number % 2 else reversed(clients):
                began, clock = time.process_time(), time.perf_counter()
                assert draw(requests) == count
                seconds[key].append(time.process_time() - began)
                wall[key].append(time.perf_counter() - clock)
    rows: list[tuple[object, ...]] = []
    for key, took in seconds.items():
        spreads = [_ratio(seconds[bare], took), _ratio(wall[bare], wall[key])]
        with _process(given, key) as peak:
            mebibytes = int(peak) >> 20
        rows.append((key, count, count / statistics.median(took), *spreads, mebibytes))
    return rows


def _ratio(bare: Sequence[float], ours: Sequence[float]) -> str:
    ratios = [b / o for b, o in zip(bare, ours, strict=True)]
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f}, {max(ratios):.3f})"


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
    elif name in ("bare-folder", "folder"):
        with tempfile.TemporaryDirectory() as folder:
            yield from_folder(Path(folder), bare=name == "bare-folder"), PHOTOS
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


def from_folder(folder: Path, *, bare: bool) -> Draw:
    """Photos to vectors: in a plain loop, or by the job into a store that is new every time."""
    encoder = load_encoder("packaged")
    photos = list(_photos(folder, PHOTOS))
    if bare:

        def loop(_: Sequence[ImageRequest]) -> int:
            done = 0
            for low in range(0, len(photos), ENCODED):
                block = [decode_image(path.read_bytes()) for path in photos[low : low + ENCODED]]
                done += len(
                    encoder.encode_images(np.stack(list(map(encoder.prepare, block)))).whole
                )
            return done

        return loop
    labels = LabelSet([Label(name, name) for name in ("cat", "dog", "cup", "sofa")])
    base = Store.create(folder / "base", labels, default_encoder=encoder.info.spec)
    generate_texts(base, encoder, GenerateConfig(count=PHOTOS))
    texts = [row["text"] for batch in base.scan("texts") for row in batch.to_pylist()]
    rows = [{"text": t, "image": str(p)} for t, p in zip(texts, photos, strict=True)]
    manifest = folder / "made.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def job(_: Sequence[ImageRequest]) -> int:
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder / "base", copy)
        with open_image_writer("folder", images=manifest) as writer:
            done = generate_images(Store.open(copy), encoder, writer, batch_size=ENCODED)
        return done.written

    return job


def _photos(folder: Path, count: int) -> Iterator[Path]:
    """Cut-outs of a few real photos, each another one."""
    data: Any = importlib.import_module("skimage.data")
    whole = [Image.fromarray(one()) for one in (data.astronaut, data.coffee, data.chelsea)]
    chance = np.random.default_rng(0)
    for number in range(count):
        photo = whole[number % len(whole)]
        left, top = chance.integers(0, 60, 2).tolist()
        path = folder / f"{number}.jpg"
        photo.crop((left, top, left + 240, top + 230)).resize((448, 430)).save(path, quality=90)
        yield path


def serve(size: int, latency: float) -> None:
    """Answer with ``size`` random bytes after a while, until standard input ends."""
    data = base64.b64encode(np.random.default_rng(0).bytes(size)).decode()
    body = json.dumps({"created": 1, "data": [{"b64_json": data}]}).encode()

    def behave(exchange: Exchange) -> None:
        exchange.wait(latency)
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
