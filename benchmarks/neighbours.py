"""Nearest images: what the approximate index finds of what exact search finds, and what each costs.

``python -m benchmarks.neighbours`` searches synthetic vectors (a mixture of clusters with decaying
spectrum, moved by a modality gap for the queries) with torch, FAISS flat and FAISS IVF, taking
turns in one process.
``python -m benchmarks.neighbours --training DIR`` estimates where the labels of 400,000 images are
as ``train --task pll`` does, through each index in a process of its own: time, memory, and how far
the estimates are from those of torch.
"""

import argparse
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.random_encoder import ENCODER
from benchmarks.report import Table, write_report
from taistore.geometry.neighbours import (
    EXACT_ROWS,
    TRAINING_ROWS_PER_LIST,
    Kind,
    NeighbourIndex,
    ivf_lists,
    ivf_probes,
    open_index,
)
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.store.store import Store

CLUSTERS = 2000
KINDS: tuple[Kind, ...] = ("torch", "faiss", "ivf")


def mixture(rows: int, dim: int, *, seed: int, gap: float = 0.0) -> NDArray[np.float16]:
    """Vectors [rows, dim] of :data:`CLUSTERS` clusters; ``gap`` moves all along one direction."""
    shared = np.random.default_rng(0)
    spectrum_D = (np.arange(1, dim + 1) ** -0.5).astype(np.float32)
    centres = shared.standard_normal((CLUSTERS, dim), dtype=np.float32) * spectrum_D
    direction_D = shared.standard_normal(dim, dtype=np.float32)
    direction_D /= np.linalg.norm(direction_D)
    random = np.random.default_rng(seed)
    made = np.empty((rows, dim), dtype=np.float16)
    for low in range(0, rows, 65_536):
        n = min(65_536, rows - low)
        noise = random.standard_normal((n, dim), dtype=np.float32) * spectrum_D
        made[low : low + n] = centres[random.integers(CLUSTERS, size=n)] + 0.8 * noise
        made[low : low + n] += (gap * direction_D).astype(np.float16)
    return made


def measure(rows: int, dim: int, queries: int, k: int) -> list[list[object]]:
    """One row per kind: CPU seconds to build and to search, bytes, recall."""
    vectors = mixture(rows, dim, seed=1)
    # A text after the common gap shift: near its cluster, but not quite among the images.
    asked = mixture(queries, dim, seed=2, gap=0.5)
    sample = vectors[
        np.random.default_rng(3).choice(
            rows, min(rows, TRAINING_ROWS_PER_LIST * ivf_lists(rows)), replace=False
        )
    ]
    indexes: dict[str, NeighbourIndex] = {}
    build: dict[str, float] = {}

    for kind in KINDS:
        began = time.process_time()
        indexes[kind] = open_index(rows, dim, kind=kind, sample_SD=sample)
        for low in range(0, rows, 8192):
            indexes[kind].add(vectors[low : low + 8192])
        build[kind] = time.process_time() - began
    seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    found: dict[str, NDArray[np.int64]] = {}
    for _ in range(3):
        for kind in KINDS:
            began = time.process_time()
            _, found[kind] = indexes[kind].search(asked, k)
            seconds[kind].append(time.process_time() - began)
    lines: list[list[object]] = []
    for kind in KINDS:
        hits = [np.isin(a, b).mean() for a, b in zip(found[kind], found["faiss"], strict=True)]
        ratio = [np.median(np.array(seconds[kind]) / seconds[o]) for o in ("torch", "faiss")]
        lines.append(
            [
                f"{rows:,}",
                kind,
                indexes[kind].bytes_per_vector,
                f"{build[kind]:.1f}",
                f"{np.median(seconds[kind]):.2f}",
                f"{ratio[0]:.2f}",
                f"{ratio[1]:.2f}",
                f"{np.mean(hits):.3f}",
            ]
        )
        print(*lines[-1], flush=True)
    return lines


def training_here(path: Path, kind: Kind) -> None:
    """Estimate as a training does, write the estimates, print what it took as JSON."""
    from taistore.adapter.config import TrainConfig
    from taistore.adapter.data import Preparation

    store = Store.open(path)
    config = TrainConfig(task="pll", neighbour_index=kind, device="cpu")
    began, cpu = time.monotonic(), time.process_time()
    data = Preparation.fresh(store, ENCODER.encoder_id, config)
    shift = data.shift()
    assert shift is not None
    taken = {
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": peak_bytes() / 2**20,
        "index": data.searched,
    }
    np.save(path / f"estimates-{kind}.npy", shift.images.estimates_ND)
    print(json.dumps(taken))


def training(work: Path, images: int, *, at_once: int = 1) -> Path:
    """Through each index; write the report and return its path."""
    from benchmarks.train_memory import make_labelled

    path = work / f"neighbours-{images}"
    make_labelled(path, texts=50_000, images=images)

    def measured(kind: Kind) -> dict[str, Any]:
        child = [sys.executable, "-m", "benchmarks.neighbours", "--only", kind]
        child += ["--training", str(path)]
        ended = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
        taken: dict[str, Any] = json.loads(ended.stdout)
        print(kind, taken, flush=True)
        return taken

    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(measured, KINDS))
    rows = []
    for kind, taken in zip(KINDS, found, strict=True):
        exact_ND, found_ND = (np.load(path / f"estimates-{k}.npy") for k in ("torch", kind))
        far = np.linalg.norm(found_ND - exact_ND) / np.linalg.norm(exact_ND)
        figures = (round(taken[name]) for name in ("seconds", "cpu_seconds", "peak_mib"))
        rows.append((taken["index"], *figures, f"{far:.1e}"))
        print(*rows[-1], flush=True)
    text = (
        f"Where the images of each of 7,186 labels are expected, from {images:,} images of "
        f"{ENCODER.dim} dimensions and 50,000 combinations: centroids, all searches, means. Random "
        f"vectors, of which an approximate index finds fewer than of photos. {at_once} of these at "
        "once."
    )
    columns = ("index", "seconds", "CPU seconds", "peak MiB", "distance to torch's, relative")
    tables = [Table(columns, rows)]
    title = "Neighbours in training"
    return write_report("neighbours-training", title=title, text=text, tables=tables)


def main() -> None:
    """Measure every size and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000, 400_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--training", type=Path, metavar="DIR", help="measure in training")
    parser.add_argument("--images", type=int, default=400_000, help="with --training")
    parser.add_argument("--at-once", type=int, default=1, help="processes; times are then longer")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        training_here(options.training, options.only)
        return
    if options.training:
        print(training(options.training, options.images, at_once=options.at_once))
        return
    rows = [
        line
        for count in options.rows
        for line in measure(count, options.dim, options.queries, options.k)
    ]
    columns = ["vectors", "index", "bytes a vector", "build s", "search s"]
    columns += ["search / torch", "search / faiss", f"recall@{options.k}"]
    largest = max(options.rows)
    text = (
        f"{options.queries:,} queries of {options.dim} dimensions, cosine, CPU seconds (search: "
        "median of 3 turns). torch: exact, float16 in memory, float32 products; faiss: "
        f"IndexFlatIP; ivf: {ivf_lists(largest):,} lists at {largest:,} vectors, "
        f"{ivf_probes(ivf_lists(largest))} of them searched. `auto` is exact up to "
        f"{EXACT_ROWS:,} vectors. Synthetic vectors; recall against faiss flat."
    )
    title = "Nearest images"
    print(write_report("neighbours", title=title, text=text, tables=[Table(columns, rows)]))


if __name__ == "__main__":
    main()
