"""Centroids: how close estimates come to the truth, and what a million vectors cost.

``python -m benchmarks.centroids accuracy --work DIR`` masks the labels of half of the photos of
``../shared/data`` (10 to 90 % known, 5 seeds) and compares text centroids, plain Eq. 7 of
arXiv:2312.04160, shrunk and neighbour estimates with the centroids of all labels.
``python -m benchmarks.centroids cost --work DIR`` makes 1,000,000 image vectors of 1,024 dimensions
with 7,186 labels, and measures CPU time beside a scan of the same vectors, and peak memory, with
torch loaded and without.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.centroid_parts import parts
from benchmarks.random_encoder import ENCODER
from benchmarks.report import Table, write_report
from taistore.geometry.centroids import LabelCentroids, combination_centroids, label_centroids
from taistore.geometry.offsets import TextSide, gap_targets, shrunk
from taistore.labels import Label, LabelSet
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.store.arrow import vector_array, vector_column
from taistore.store.partial_labels import PartialLabels, hash_order
from taistore.store.store import Store

SETS = {"voc2012": "VOC2012, 500 of 1,000 photos", "coco": "COCO, 300 of 600 photos"}
KNOWN = (0.1, 0.3, 0.5, 0.7, 0.9)
GAP_COUNTS = (1, 2, 5)
NEIGHBOUR_COUNTS = (1, 2, 3, 5, 10)
NEIGHBOURS = (10, 20)
LABELS = 7186
LABELS_PER_IMAGE = 3
ROWS_PER_BATCH = 8192
LIMIT_MIB = 1024
TARGET_RATIO = 2.0

Float32 = NDArray[np.float32]


# --- accuracy ----------------------------------------------------------------------------------


def accuracy(options: argparse.Namespace) -> list[Table]:
    """One table per set: mean distance and cosine to the true centroid, over labels and seeds."""
    # Here, not above: torch would count in the memory that ``cost`` measures.
    from benchmarks.accuracy import prepare
    from taistore.encoders.registry import load_encoder

    encoder = load_encoder("packaged")
    tables = []
    for name in options.sets:
        bench = prepare(name, options.data, options.work, encoder, seeds=1, texts=options.texts)
        found: dict[str, list[list[tuple[float, float]]]] = {}
        for known in KNOWN:
            for seed in range(options.seeds):
                estimates, true = _estimates(bench.stores[0], bench.encoder_id, known, seed)
                for what, estimate_ND in estimates.items():
                    cells = found.setdefault(what, [[] for _ in KNOWN])
                    cells[KNOWN.index(known)].append(_closeness(estimate_ND, true))
        rows = [[what, *(_cell(cell) for cell in cells)] for what, cells in found.items()]
        tables.append(Table(["estimate", *(f"{k:.0%} known" for k in KNOWN)], rows, SETS[name]))
        print(*rows, sep="\n", flush=True)
    return tables


def _estimates(
    store: Store, encoder_id: str, share: float, seed: int
) -> tuple[dict[str, Float32], LabelCentroids]:
    """Estimates [N, D] by name from masked labels, and the centroids of all labels."""
    from taistore.geometry.expected_places import neighbour_targets
    from taistore.geometry.image_neighbours import ImageNeighbours

    every = PartialLabels.read(store)
    half = np.sort(hash_order(every.image_ids, seed=seed)[: len(every) // 2])
    train = every.take(half)
    known = train.masked(share, seed=seed)
    images = label_centroids(store, encoder_id, known)
    texts, index = combination_centroids(store, encoder_id), store.combination_index()
    side = TextSide.build(texts, index, labels=images.labels)
    gap_ND = gap_targets(images, side)
    found = {
        "text centroid": side.means_ND,
        "text centroid + common gap": gap_ND,
        "Eq. 7, no image: text centroid": np.where(
            images.counts_N[:, None] > 0, images.means_ND, side.means_ND
        ),
    }
    for count in GAP_COUNTS:
        found[f"shrunk to the gap, {count}"] = shrunk(images, gap_ND, pseudo_counts=count)
    neighbours = ImageNeighbours.build(store, encoder_id, known)
    for k in NEIGHBOURS:
        near_ND = neighbour_targets(neighbours, images, texts, index, k=k)
        found[f"{k} neighbours alone"] = near_ND
        for count in NEIGHBOUR_COUNTS:
            found[f"shrunk to {k} neighbours, {count}"] = shrunk(
                images, near_ND, pseudo_counts=count
            )
    return found, label_centroids(store, encoder_id, train)


def _closeness(estimate_ND: Float32, true: LabelCentroids) -> tuple[float, float]:
    there = true.counts_N > 0
    one, other = estimate_ND[there], true.means_ND[there]
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine = (one * other).sum(axis=1) / np.maximum(lengths, 1e-12)
    return float(np.linalg.norm(one - other, axis=1).mean()), float(cosine.mean())


def _cell(values: list[tuple[float, float]]) -> str:
    distance, cosine = np.mean(values, axis=0)
    return f"{distance:.2f} ± {np.std([v[0] for v in values]):.2f} ({cosine:.3f})"


# --- cost --------------------------------------------------------------------------------------


def make_images(path: Path, *, rows: int, labels: int = LABELS) -> Store:
    """A store of random image vectors, each image with three known positives."""
    store = Store.create(
        path, LabelSet(Label(f"l{i}", f"label {i}") for i in range(labels)), default_encoder="x"
    )
    if store.count("image_vectors", ENCODER.encoder_id) if store.encoders() else 0:
        return store
    store.register_encoder(ENCODER)
    write_images(store, rows=rows)
    return store


def write_images(store: Store, *, rows: int) -> None:
    """Random image vectors and :data:`LABELS_PER_IMAGE` known positives each, into a new store."""
    labels = len(store.labels)
    random = np.random.default_rng(0)
    ids = [f"{a:016x}{b:016x}" for a, b in random.integers(2**63, size=(rows, 2)).tolist()]

    def images() -> Iterator[pa.RecordBatch]:
        schema = store.schema("images")
        for low in range(0, rows, ROWS_PER_BATCH):
            part = ids[low : low + ROWS_PER_BATCH]
            n = len(part)
            shown = np.sort(random.integers(labels, size=(n, LABELS_PER_IMAGE)), axis=1)
            values: dict[str, Any] = {
                "image_id": part,
                "uri": part,
                "other_uris": [None] * n,
                "covered": [None] * n,
                "width": [1] * n,
                "height": [1] * n,
                "positives": shown.tolist(),
                "negatives": [[]] * n,
                "complete": [False] * n,
                "combination_id": [None] * n,
                "split": ["train"] * n,
            }
            yield from pa.Table.from_pydict(values, schema=schema).to_batches()

    def vectors() -> Iterator[pa.RecordBatch]:
        schema = store.schema("image_vectors", ENCODER.encoder_id)
        for low in range(0, rows, ROWS_PER_BATCH):
            part = ids[low : low + ROWS_PER_BATCH]
            drawn = random.standard_normal((len(part), ENCODER.dim), dtype=np.float32) / 3
            columns = [pa.array(part), vector_column(drawn)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    # Merging a million rows in by key measures another thing and takes longer than the pass.
    database = lancedb.connect(store.uri)
    for kind, encoder_id, batches in (
        ("images", None, images()),
        ("image_vectors", ENCODER.encoder_id, vectors()),
    ):
        schema = store.schema(kind, encoder_id)
        reader = pa.RecordBatchReader.from_batches(schema, batches)
        database.create_table(store.table_name(kind, encoder_id), reader, schema=schema)


def cost_here(path: Path, repeats: int, *, torch: bool) -> None:
    """Centroids and a scan of the same vectors, taking turns; prints JSON."""
    if torch:
        importlib.import_module("torch").set_num_threads(1)
    store = Store.open(path)
    known = PartialLabels.read(store)
    seconds: dict[str, list[float]] = {"scan": [], "centroids": [], "dispersions": []}
    for _ in range(repeats):
        began = time.process_time()
        columns = ["image_id", "vector"]
        for batch in store.scan("image_vectors", columns=columns, encoder_id=ENCODER.encoder_id):
            # Touch every vector, as any reader would.
            np.bitwise_or.reduce(vector_array(batch.column(1)).reshape(-1).view(np.uint64))
        seconds["scan"].append(time.process_time() - began)
        began = time.process_time()
        found = label_centroids(store, ENCODER.encoder_id, known)
        seconds["centroids"].append(time.process_time() - began)
        began = time.process_time()
        label_centroids(store, ENCODER.encoder_id, known, dispersions=True)
        seconds["dispersions"].append(time.process_time() - began)
    peak = peak_bytes() / 2**20
    counted = {"positives": int(found.counts_N.sum()), "images": found.images}
    rounds = [parts(store, known) for _ in range(repeats)]
    by_part = {name: float(np.median([one[name] for one in rounds])) for name in rounds[0]}
    print(json.dumps({"seconds": seconds, "peak_mib": peak, "parts": by_part, **counted}))


def cost(options: argparse.Namespace) -> list[Table]:
    """Measure in processes of their own, whose peak memory is then that of the job."""
    path = options.work / "centroids-cost"
    make_images(path, rows=options.rows)
    rows, by_part = [], []
    for loaded in ("torch", "no torch"):
        child = [sys.executable, "-m", "benchmarks.centroids", "here", "--work", str(path)]
        child += ["--repeats", str(options.repeats), "--loaded", loaded]
        ended = subprocess.run(child, check=True, stdout=subprocess.PIPE, text=True)
        taken = json.loads(ended.stdout)
        print(taken, flush=True)
        rows.append([loaded, *_cost_cells(taken)])
        by_part.append(taken["parts"])
    columns = ["loaded", "vectors", "labels", "positives", "scan", "centroids"]
    columns += ["ratio (at most 2)", "with dispersions", "peak MiB (under 1,024)"]
    lines = [[name, f"{by_part[0][name]:.3f}", f"{by_part[1][name]:.3f}"] for name in by_part[0]]
    return [
        Table(columns, rows, f"CPU microseconds a row, median of {options.repeats} turns."),
        Table(
            ["part", "torch", "no torch"],
            lines,
            "The parts beside the scan, each alone, on rows in memory: CPU microseconds a row.",
        ),
    ]


def _cost_cells(taken: dict[str, Any]) -> list[str]:
    scan, pass_, more = (
        1e6 * np.array(taken["seconds"][name]) / taken["images"]
        for name in ("scan", "centroids", "dispersions")
    )
    ratio = float(np.median(pass_ / scan))
    return [
        f"{taken['images']:,} x {ENCODER.dim}",
        f"{LABELS:,}",
        f"{taken['positives']:,}",
        f"{np.median(scan):.2f}",
        f"{np.median(pass_):.2f}",
        f"{ratio:.2f} ({'yes' if ratio <= TARGET_RATIO else 'NO'})",
        f"{np.median(more):.2f}",
        f"{taken['peak_mib']:.0f} ({'yes' if taken['peak_mib'] < LIMIT_MIB else 'NO'})",
    ]


def main() -> None:
    """Run one part and write its report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("accuracy", "cost", "here"))
    parser.add_argument("--work", type=Path, required=True, help="folder for the stores")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--loaded", choices=("torch", "no torch"), default="torch")
    options = parser.parse_args()
    if options.part == "here":
        cost_here(options.work, options.repeats, torch=options.loaded == "torch")
    elif options.part == "accuracy":
        text = (
            "Distance to the centroid of all labels (its cosine in brackets), mean over labels, "
            f"± deviation over {options.seeds} seeds of mask and half. Packaged encoder, "
            f"{options.texts:,} template texts, half of the photos. `shrunk to X, k`: weight "
            "count / (count + k) on the label's known images, the rest on X; neighbours are the "
            "images nearest to the label's text moved by the common gap, those known not to show "
            "it left out. The truth is the centroid of the same photos, so that it is Eq. 7 "
            "itself at 100 %."
        )
        tables = accuracy(options)
        print(write_report("centroids", title="Estimated centroids", text=text, tables=tables))
    else:
        text = (
            "Label centroids (Eq. 7) of random float16 vectors beside a scan that reads ids and "
            "vectors of the same table and touches each; in one process, taking turns. Peak "
            "resident memory of that process, Python, torch and Lance included. The scan is a part "
            "of centroids too, so that 2 scans leave one for all the parts."
        )
        title = "What centroids cost"
        print(write_report("centroids-cost", title=title, text=text, tables=cost(options)))


if __name__ == "__main__":
    main()
