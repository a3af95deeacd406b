"""How cost grows: each job on 10,000 to 1,000,000 texts and images, with a fitted exponent.

Vectors of 64 dimensions and 80 labels, so that what a row costs shows, not what its products do;
an encoder that looks vectors up. Every job of every size is measured in a process of its own, after
a small run that loads what it needs: what an earlier job left in memory is not this one's. Stores
and figures stay in the work folder: what was measured there is not measured again, so that hours of
it may be interrupted. Other sizes, such as 10,000,000:

    python -m benchmarks.suite.growth 10000000 --work FOLDER
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import taistore
from benchmarks.random_encoder import ENCODER
from benchmarks.suite.rows import Row, at_most
from benchmarks.suite.turns import apart
from taistore.adapter.freed_memory import give_back
from taistore.encoders.protocol import Float32, ImageVectors
from taistore.errors import EncoderError
from taistore.project import Project
from taistore.reproduction.without_data.peak_memory import forget_peak, peak_bytes

SIZES = {False: (8_000, 32_000, 128_000), True: (10_000, 100_000, 1_000_000)}
WARM_UP = 1_000
DIM = 64
LABELS = 80
TEXTS_A_LABEL = 333
"""Captions of each label, at every size. Of a label's own, a third of these, templates say one in
twenty again and are asked for another; of ten times as many, with as few labels, four in five."""

LEAST_LABELS = 10

BLOCK = 8192
MOST = 1.05
"""Cost grows as size to the power of this at most."""

MOST_BYTES = 100.0
"""Memory that a row may add, in bytes: its key's hash and what a job knows of it, no vector."""

NAME = "looked-up"
EVALUATION = "evaluation"


class Figure(NamedTuple):
    """Processor seconds of a job, and the most bytes that the process held meanwhile."""

    seconds: float
    peak: int


class LookUpEncoder:
    """Vectors [n, DIM] from a table, by a hash of the text: what a job costs beside its encoder."""

    def __init__(self) -> None:
        self.info = replace(ENCODER, encoder_id="looked_up", spec=NAME, dim=DIM)
        random = np.random.default_rng(0)
        self._table = random.standard_normal((4096, DIM), dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """A quarter of the letters."""
        return [len(text) // 4 for text in texts]

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """Rows of the table."""
        found: Float32 = self._table[[hash(text) % len(self._table) for text in texts]]
        return found

    def prepare(self, image: Image.Image) -> NDArray[np.uint8]:
        """No photo comes here."""
        raise EncoderError("this encoder looks up texts alone")

    def encode_images(self, pixels: NDArray[np.uint8], *, regions: int = 0) -> ImageVectors:
        """No photo comes here."""
        raise EncoderError("this encoder looks up texts alone")


def answer(work: Path, *, full: bool) -> Iterator[Row]:
    """A row a job: its exponent over all sizes; and what memory grows by."""
    sizes = SIZES[full]
    found = {size: figures(work / str(size), size) for size in sizes}
    small, large = sizes[0], sizes[-1]
    for name in found[small]:
        seconds = [found[size][name].seconds for size in sizes]
        yield at_most(
            f"growth: {name}, CPU us a row at {large:,} and at {small:,} rows; the ratio is the "
            f"exponent fitted over {len(sizes)} sizes",
            ours=1e6 * seconds[-1] / large,
            other=1e6 * seconds[0] / small,
            ratio=exponent(sizes, seconds),
            target=MOST,
        )
    added = {
        name: (found[large][name].peak - found[small][name].peak) / (large - small)
        for name in found[small]
        if name != EVALUATION
    }
    most = max(added, key=added.__getitem__)
    yield at_most(
        f"growth: peak MiB at {large:,} and at {small:,} rows, of the job where they differ most "
        f"({most}; without {EVALUATION}, which holds its scores); the ratio is bytes a row adds",
        ours=found[large][most].peak / 2**20,
        other=found[small][most].peak / 2**20,
        ratio=added[most],
        target=MOST_BYTES,
    )


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The power of size that cost grows with: least squares over logarithms.

    >>> round(exponent([10, 100, 1000], [1, 10, 100]), 3)
    1.0
    """
    slope, _ = np.polyfit(np.log(sizes), np.log(seconds), 1)
    return float(slope)


def figures(folder: Path, size: int) -> dict[str, Figure]:
    """Cost of each job on a store of ``size`` texts and as many images, kept in ``folder``."""
    kept = folder / "figures.json"
    known = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if None in known.values():  # killed in that job, whose rest would be too cheap
        shutil.rmtree(folder)
        known = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name in apart(_names, folder, size):
        if name not in known:
            kept.write_text(json.dumps({**known, name: None}), encoding="utf-8")
            known[name] = apart(_figure, folder, size, name)
            kept.write_text(json.dumps(known), encoding="utf-8")
    return {name: Figure(*figure) for name, figure in known.items()}


def _names(folder: Path, size: int) -> list[str]:
    """Of the jobs, in their order; makes their stores and files."""
    taistore.register_encoder(NAME, LookUpEncoder)
    return list(_jobs(folder, size))


def _figure(folder: Path, size: int, name: str) -> Figure:
    """Cost of one job, after those before it and itself on a small store."""
    torch.set_num_threads(1)
    taistore.register_encoder(NAME, LookUpEncoder)
    with tempfile.TemporaryDirectory() as warm:
        for warmed, job in _jobs(Path(warm), WARM_UP).items():
            job()
            if warmed == name:
                break
    job = _jobs(folder, size)[name]
    give_back()
    forget_peak()
    began = time.process_time()
    job()
    return Figure(time.process_time() - began, peak_bytes())


def _jobs(folder: Path, size: int) -> dict[str, Callable[[], object]]:
    """The jobs in their order, on the stores of ``folder``, which are made where they lack."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"label {number}" for number in range(LABELS)]
    some = [f"label {number}" for number in range(max(LEAST_LABELS, size // TEXTS_A_LABEL))]
    written = taistore.create(folder / "written", labels=some, encoder=NAME, device="cpu")
    store = taistore.create(folder / "store", labels=names, encoder="vectors:made", device="cpu")
    texts, images = (_files(folder / kind, size, names) for kind in ("text", "image"))

    def ingest_images() -> object:
        return store.ingest_image_vectors(
            images / "vectors.npy", ids=images / "ids.jsonl", name="made", split="train"
        )

    return {
        "template captions into the store": lambda: written.generate_texts(size),
        "text vectors into the store": lambda: store.ingest_text_vectors(
            texts / "vectors.npy", ids=texts / "ids.jsonl", name="made"
        ),
        "image vectors and labels into the store": ingest_images,
        "the same again, all there": ingest_images,
        "an epoch on texts alone": lambda: store.train(task="zsl", shift="none", epochs=1),
        "an epoch, texts moved to unlabelled images": lambda: store.train(task="zsl", epochs=1),
        "an epoch on partial labels": lambda: store.train(task="pll", epochs=1),
        "centroids": lambda: store.centroids(split="train"),
        "five tags an image": lambda: store.run().score(
            out=folder / "tags.parquet", top_k=5, overwrite=True
        ),
        EVALUATION: lambda: store.run().evaluate(split="train"),
        "optimize": store.optimize,
        "verify": lambda: Project.verify(store.uri),
    }


def _files(folder: Path, size: int, names: Sequence[str]) -> Path:
    """Random vectors [size, DIM] and as many ids with up to two labels each."""
    ids = folder / "ids.jsonl"
    if ids.exists():
        return folder
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(len(folder.name))
    vectors = np.lib.format.open_memmap(
        folder / "vectors.npy", mode="w+", dtype=np.float16, shape=(size, DIM)
    )
    part = folder / "ids.part"
    with part.open("w", encoding="utf-8") as lines:
        for low in range(0, size, BLOCK):
            count = min(BLOCK, size - low)
            vectors[low : low + count] = random.standard_normal((count, DIM), dtype=np.float32)
            shown = np.sort(random.integers(len(names), size=(count, 2)), axis=1).tolist()
            for number, labels in enumerate(shown, start=low):
                row = {"id": f"{folder.name} {number}", "labels": [names[i] for i in {*labels}]}
                if number < len(names):  # every label has a text of its own, as zero-shot needs
                    row = {"id": names[number], "labels": [names[number]]}
                lines.write(json.dumps(row) + "\n")
    vectors.flush()
    part.rename(ids)
    return folder


def main() -> None:
    """Print the figures of given sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", type=int, nargs="+")
    parser.add_argument("--work", type=Path, required=True, help="folder for stores and figures")
    options = parser.parse_args()
    for size in options.sizes:
        for name, figure in figures(options.work / str(size), size).items():
            row = 1e6 * figure.seconds / size
            print(f"{size:,} {name}: {row:.1f} us a row, peak {figure.peak / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
