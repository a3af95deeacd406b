"""Nearest neighbours by cosine: exact with torch or FAISS, approximate with IVF.

B vectors added at once, D embedding dimension, K neighbours, M vectors of an index, Q queries.
"""

import importlib.util
import math
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from taistore._extras import require

Float32 = NDArray[np.float32]
Kind = Literal["auto", "torch", "faiss", "ivf"]

EXACT_ROWS = 200_000
"""Up to this many vectors ``auto`` searches exactly: beyond, building IVF takes as long as exact
search for some 10,000 queries (``benchmarks/neighbours.py``)."""

TRAINING_ROWS_PER_LIST = 64
"""Sample rows that IVF wants for each of its lists; fewer make FAISS complain, more buy nothing."""

_ROWS_PER_MATMUL = 8192
_QUERIES_PER_MATMUL = 2048


class NeighbourIndex(Protocol):
    """Vectors in the order in which they were added; row numbers start at 0."""

    bytes_per_vector: int
    """Memory that one vector takes in the index."""

    def add(self, vectors_BD: NDArray[Any]) -> None:
        """Append vectors [B, D], float16 or float32, finite."""
        ...

    def search(self, queries_QD: NDArray[Any], k: int) -> tuple[Float32, NDArray[np.int64]]:
        """Scores, best first, and rows, both [Q, min(k, M)].

        An approximate index that finds fewer fills up with the score -inf and the row -1.
        """
        ...


class TorchIndex:
    """Exact: a blocked float32 product with vectors kept in float16.

    Takes ``2 * D + 4`` bytes a vector. Vectors of a store are float16 already: nothing is lost.
    """

    def __init__(self, dim: int) -> None:
        self.bytes_per_vector = 2 * dim + 4
        self._dim = dim
        self._blocks: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._rows = 0

    def add(self, vectors_BD: NDArray[Any]) -> None:
        """Append vectors [B, D]."""
        _check(vectors_BD, self._dim)
        for low in range(0, len(vectors_BD), _ROWS_PER_MATMUL):
            part = np.array(vectors_BD[low : low + _ROWS_PER_MATMUL], dtype=np.float16)
            half_BD = torch.from_numpy(part)
            scale_B = half_BD.float().norm(dim=1).clamp_min_(1e-12).reciprocal_()
            self._blocks.append((half_BD, scale_B))
        self._rows += len(vectors_BD)

    def search(self, queries_QD: NDArray[Any], k: int) -> tuple[Float32, NDArray[np.int64]]:
        """Exact scores and rows [Q, min(k, M)]."""
        _check(queries_QD, self._dim)
        found = [
            self._search(queries_QD[low : low + _QUERIES_PER_MATMUL], min(k, self._rows))
            for low in range(0, len(queries_QD), _QUERIES_PER_MATMUL)
        ]
        if not found:
            return np.empty((0, 0), dtype=np.float32), np.empty((0, 0), dtype=np.int64)
        scores, rows = zip(*found, strict=True)
        return np.concatenate(scores), np.concatenate(rows)

    def _search(self, queries_QD: NDArray[Any], k: int) -> tuple[Float32, NDArray[np.int64]]:
        queries = torch.from_numpy(np.array(queries_QD, dtype=np.float32))
        queries = torch.nn.functional.normalize(queries, dim=1)
        scores_QK = torch.empty((len(queries), 0))
        rows_QK = torch.empty((len(queries), 0), dtype=torch.int64)
        first = 0
        for half_BD, scale_B in self._blocks:
            scores_QB = (queries @ half_BD.float().T).mul_(scale_B)
            best_QK, place_QK = scores_QB.topk(min(k, len(half_BD)), dim=1)
            scores_QK = torch.cat([scores_QK, best_QK], dim=1)
            rows_QK = torch.cat([rows_QK, place_QK + first], dim=1)
            scores_QK, order_QK = scores_QK.topk(min(k, scores_QK.shape[1]), dim=1)
            rows_QK = rows_QK.gather(1, order_QK)
            first += len(half_BD)
        return scores_QK.numpy(), rows_QK.numpy()


class FaissIndex:
    """FAISS, on the GPU where it was built for one and one is there.

    ``lists`` 0 is exact (``IndexFlatIP``, ``4 * D`` bytes a vector). Otherwise approximate: IVF
    over ``lists`` cells learnt from ``sample_SD``, of which ``probes`` are searched, with vectors
    in float16 (``2 * D + 8`` bytes each). Raises :class:`MissingExtraError` without FAISS.
    """

    def __init__(
        self,
        dim: int,
        *,
        lists: int = 0,
        probes: int = 1,
        sample_SD: NDArray[Any] | None = None,
    ) -> None:
        faiss = require("faiss", extra="faiss", purpose="this neighbour index")
        self._dim = dim
        self.bytes_per_vector = 2 * dim + 8 if lists else 4 * dim
        flat = faiss.IndexFlatIP(dim)
        if not lists:
            self._index = _on_gpu(faiss, flat)
            return
        if sample_SD is None or len(sample_SD) < lists:
            raise ValueError(f"an index with {lists} lists needs at least as many sample vectors")
        index = faiss.IndexIVFScalarQuantizer(
            flat, dim, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._quantizer = flat  # FAISS does not keep its own quantizer alive.
        index.cp.min_points_per_centroid = 1
        index.nprobe = min(probes, lists)
        self._index = _on_gpu(faiss, index)
        self._index.train(self._rows(sample_SD))

    def add(self, vectors_BD: NDArray[Any]) -> None:
        """Append vectors [B, D]."""
        _check(vectors_BD, self._dim)
        for low in range(0, len(vectors_BD), _ROWS_PER_MATMUL):
            self._index.add(self._rows(vectors_BD[low : low + _ROWS_PER_MATMUL]))

    def search(self, queries_QD: NDArray[Any], k: int) -> tuple[Float32, NDArray[np.int64]]:
        """Scores and rows [Q, min(k, M)]; -inf and -1 where an approximate search found fewer."""
        _check(queries_QD, self._dim)
        k = min(k, int(self._index.ntotal))
        if not k or not len(queries_QD):
            empty = (len(queries_QD), k)
            return np.empty(empty, dtype=np.float32), np.empty(empty, dtype=np.int64)
        scores_QK, rows_QK = self._index.search(self._rows(queries_QD), k)
        return np.where(rows_QK < 0, -np.float32(np.inf), scores_QK), rows_QK

    def _rows(self, vectors_BD: NDArray[Any]) -> Float32:
        rows_BD: Float32 = np.array(vectors_BD, dtype=np.float32, order="C")
        rows_BD /= np.maximum(np.linalg.norm(rows_BD, axis=1, keepdims=True), 1e-12)
        return rows_BD


def open_index(
    rows: int,
    dim: int,
    *,
    kind: Kind = "auto",
    sample_SD: NDArray[Any] | None = None,
) -> NeighbourIndex:
    """An empty index for about ``rows`` vectors of ``dim`` dimensions.

    ``auto``: exact on torch up to :data:`EXACT_ROWS`; beyond that IVF where FAISS is installed and
    ``sample_SD`` (see :func:`sample_rows`) is given, else exact on torch.
    """
    if kind == "auto":
        approximate = rows > EXACT_ROWS and sample_SD is not None
        there = importlib.util.find_spec("faiss") is not None
        kind = "ivf" if approximate and there else "torch"
    if kind == "torch":
        return TorchIndex(dim)
    if kind == "faiss":
        return FaissIndex(dim)
    lists = ivf_lists(rows)
    return FaissIndex(dim, lists=lists, probes=ivf_probes(lists), sample_SD=sample_SD)


def ivf_lists(rows: int) -> int:
    """Cells of an approximate index: twice the square root of its rows, as a power of two."""
    return int(2 ** max(0, round(math.log2(2 * math.sqrt(max(rows, 1))))))


def ivf_probes(lists: int) -> int:
    """Cells that a search looks at: one in 64, eight at least."""
    return min(lists, max(8, lists // 64))


def sample_rows(rows: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Positions, ascending, of the random vectors that an approximate index is trained on.

    Empty where ``auto`` would search exactly.
    """
    if rows <= EXACT_ROWS:
        return np.empty(0, dtype=np.int64)
    count = min(rows, TRAINING_ROWS_PER_LIST * ivf_lists(rows))
    drawn = np.random.default_rng(seed).choice(rows, count, replace=False)
    return np.sort(drawn).astype(np.int64)


def _on_gpu(faiss: Any, index: Any) -> Any:
    if not hasattr(faiss, "StandardGpuResources") or not faiss.get_num_gpus():
        return index
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)


def _check(vectors: NDArray[Any], dim: int) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ValueError(f"vectors must have the shape [rows, {dim}], not {vectors.shape}")
