"""Nearest images: what the approximate index finds of what exact search finds, and what each costs.

``python -m benchmarks.neighbours`` searches synthetic vectors (a mixture of clusters with decaying
spectrum, moved by a modality gap for the queries) with torch, FAISS flat and FAISS IVF, taking
turns in one process.
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray

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


def main() -> None:
    """Measure every size and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000, 400_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=20)
    options = parser.parse_args()
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
