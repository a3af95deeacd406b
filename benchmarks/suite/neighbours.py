"""Nearest images: exact search beside faiss-cpu's flat index, approximate beside other indexes.

Vectors are those of :func:`benchmarks.neighbours.mixture`, clusters with a decaying spectrum, and
come in blocks as a store gives them.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import lancedb
import numpy as np
from numpy.typing import NDArray

from benchmarks.neighbours import mixture
from benchmarks.suite.rows import Row, at_least
from benchmarks.suite.turns import costs
from taistore.geometry.neighbours import FaissIndex, TorchIndex, open_index, sample_rows
from taistore.store.arrow import vector_column

DIM = 512
QUERIES = 1000
K = 20
_BLOCK = 4096

Rows = NDArray[np.int64]


def answer(work: Path, *, full: bool) -> Iterator[Row]:
    """Rows of exact search, held and read by blocks; of approximate indexes in the full form."""
    faiss.omp_set_num_threads(1)
    count = 400_000 if full else 100_000
    vectors_MD, asked_QD = mixture(count, DIM, seed=1), mixture(QUERIES, DIM, seed=2, gap=0.5)
    size = f"{count:,} x {DIM}, {QUERIES:,} queries, {K} neighbours"
    flat, held = FaissIndex(DIM), TorchIndex(DIM)
    read = TorchIndex(DIM, read=lambda: _blocks(vectors_MD))
    for block_BD in _blocks(vectors_MD):
        flat.add(block_BD)
        held.add(block_BD)
    found: dict[str, Rows] = {}

    def search(name: str, index: FaissIndex | TorchIndex) -> None:
        found[name] = index.search(asked_QD, K)[1]

    pieces: dict[str, FaissIndex | TorchIndex] = {
        "flat": flat,
        "held": held,
        "read by blocks": read,
    }
    taken = costs({name: partial(search, name, index) for name, index in pieces.items()}, rounds=3)
    for name in ("held", "read by blocks"):
        ours, other = taken[name].cpu, taken["flat"].cpu
        yield at_least(
            f"neighbours: exact, {name}, CPU s of a search, {size}; other faiss-cpu's flat index",
            ours=ours,
            other=other,
            ratio=other / ours,
            target=5,
        )
        recall = _recall(found[name], found["flat"])
        yield at_least(
            f"neighbours: exact, {name}, recall of what faiss-cpu's flat index finds, {size}",
            ours=recall,
            other=1.0,
            ratio=recall,
            target=0.999,
        )
    if full:
        # LanceDB alone takes minutes to build and to answer one query after another.
        yield from _approximate(work, vectors_MD, asked_QD, found["flat"], size)


def _approximate(
    work: Path,
    vectors_MD: NDArray[np.float16],
    asked_QD: NDArray[np.float16],
    true_QK: Rows,
    size: str,
) -> Iterator[Row]:
    """Our ``ivf`` beside FAISS's HNSW and LanceDB's IVF_PQ: build and bulk search, recall."""
    ours, ours_QK = _timed(lambda: _ivf(vectors_MD, asked_QD))
    recall = _recall(ours_QK, true_QK)
    others = {
        "FAISS HNSW (M 16, ef 64)": lambda: _hnsw(vectors_MD, asked_QD),
        "LanceDB IVF_PQ": lambda: _lance(work / "lance", vectors_MD, asked_QD),
    }
    for name, run in others.items():
        other, other_QK = _timed(run)
        yield at_least(
            f"neighbours: approximate, CPU s of build and search, {size}; other {name}",
            ours=ours,
            other=other,
            ratio=other / ours,
            target=1,
        )
        theirs = _recall(other_QK, true_QK)
        yield at_least(
            f"neighbours: approximate, recall, {size}; other {name}",
            ours=recall,
            other=theirs,
            ratio=recall / max(theirs, 1e-9),
            target=1,
        )


def _timed(run: Any) -> tuple[float, Rows]:
    began = time.process_time()
    rows_QK = run()
    return time.process_time() - began, rows_QK


def _ivf(vectors_MD: NDArray[np.float16], asked_QD: NDArray[np.float16]) -> Rows:
    sample_SD = vectors_MD[sample_rows(len(vectors_MD))]
    index = open_index(len(vectors_MD), DIM, kind="ivf", sample_SD=sample_SD)
    for block_BD in _blocks(vectors_MD):
        index.add(block_BD)
    return index.search(asked_QD, K)[1]


def _hnsw(vectors_MD: NDArray[np.float16], asked_QD: NDArray[np.float16]) -> Rows:
    index = faiss.IndexHNSWFlat(DIM, 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 40
    index.hnsw.efSearch = 64
    for block_BD in _blocks(vectors_MD):
        index.add(_unit(block_BD))
    found: Rows = index.search(_unit(asked_QD), K)[1]
    return found


def _lance(folder: Path, vectors_MD: NDArray[np.float16], asked_QD: NDArray[np.float16]) -> Rows:
    import pyarrow as pa

    table = lancedb.connect(folder).create_table(
        "vectors",
        pa.table({"row": np.arange(len(vectors_MD)), "vector": vector_column(vectors_MD)}),
        mode="overwrite",
    )
    table.create_index(metric="cosine", vector_column_name="vector", index_type="IVF_PQ")
    found = np.full((len(asked_QD), K), -1, dtype=np.int64)
    for at, query_D in enumerate(asked_QD):
        search: Any = table.search(query_D)
        search = search.distance_type("cosine").nprobes(20).refine_factor(5)
        rows = search.select(["row"]).limit(K).to_arrow()["row"].to_numpy()
        found[at, : len(rows)] = rows
    return found


def _unit(vectors_BD: NDArray[np.float16]) -> NDArray[np.float32]:
    rows_BD = vectors_BD.astype(np.float32)
    faiss.normalize_L2(rows_BD)
    return rows_BD


def _blocks(vectors_MD: NDArray[np.float16]) -> Iterator[NDArray[np.float16]]:
    for low in range(0, len(vectors_MD), _BLOCK):
        yield vectors_MD[low : low + _BLOCK]


def _recall(found_QK: Rows, true_QK: Rows) -> float:
    pairs = zip(found_QK, true_QK, strict=True)
    return float(np.mean([np.isin(true_K, found_K).mean() for found_K, true_K in pairs]))
