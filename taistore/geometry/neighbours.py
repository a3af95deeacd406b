"""Nearest neighbours by cosine: exact with torch or FAISS, approximate with IVF; on a GPU too.

B vectors added at once, D embedding dimension, K neighbours, M vectors of an index, Q queries.
"""

import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from taistore._extras import require
from taistore.geometry.exact_search.best_rows import BestRows
from taistore.geometry.exact_search.coarse_products import Coarse, Format
from taistore.geometry.exact_search.fast_type import fast_type

Float32 = NDArray[np.float32]
Kind = Literal["auto", "torch", "faiss", "ivf"]

KINDS: tuple[Kind, ...] = get_args(Kind)

EXACT_ROWS = 200_000
"""Up to this many vectors ``auto`` searches exactly (``benchmarks/neighbours.py``)."""

EXACT_QUERIES = 10_000
"""Up to this many queries as well: building IVF takes as long as exact search for so many, at any
number of vectors, since its lists grow with their square root and are learnt from 64 rows each."""

HELD_BYTES = 256 * 2**20
"""Vectors that exact search on the CPU keeps in memory; more are read at each search."""

TRAINING_ROWS_PER_LIST = 64
"""Sample rows that IVF wants for each of its lists; fewer make FAISS complain, more buy nothing."""

_ROWS_PER_MATMUL = 4096
_QUERIES_PER_MATMUL = 1024


class NeighbourIndex(Protocol):
    """Vectors in the order in which they were added; row numbers start at 0."""

    name: str
    """How it searches and where, such as ``torch on cuda``."""

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


Reader = Callable[[], Iterable[NDArray[Any]]]
"""Reads blocks of vectors [B, D] in their order, as often as it is called."""


class TorchIndex:
    """Exact: blocked products with vectors in float16, on ``device``.

    On the CPU products are of the format that the processor multiplies faster (``form``: None
    measures it), and float32 decides among all vectors that may be near; see :class:`BestRows`.
    Held vectors take ``2 * D + 4`` bytes each. With ``read`` none is held: every search reads them
    block by block, so that memory does not grow with their number; search with many queries at
    once. Vectors of a store are float16 already: nothing is lost.
    """

    def __init__(
        self,
        dim: int,
        *,
        device: str = "cpu",
        read: Reader | None = None,
        form: Format | None = None,
    ) -> None:
        self.name = f"torch on {device}" if read is None else f"torch on {device}, read by blocks"
        self.bytes_per_vector = 2 * dim + 4 if read is None else 0
        self._dim = dim
        self._device = torch.device(device)
        self._read = read
        self._form = form
        self._held: list[torch.Tensor] = []

    def add(self, vectors_BD: NDArray[Any]) -> None:
        """Append vectors [B, D]; not where they are read."""
        _check(vectors_BD, self._dim)
        if self._read is not None:
            raise ValueError("an index that reads its vectors holds none")
        self._held += self._blocks([vectors_BD])

    def search(self, queries_QD: NDArray[Any], k: int) -> tuple[Float32, NDArray[np.int64]]:
        """Exact scores and rows [Q, min(k, M)]."""
        _check(queries_QD, self._dim)
        if not len(queries_QD):
            return np.empty((0, 0), dtype=np.float32), np.empty((0, 0), dtype=np.int64)
        blocks = self._held if self._read is None else self._blocks(self._read())
        if self._device.type == "cpu":
            return self._search_coarse(blocks, queries_QD, k)
        parts = [_Best(part_QD, k) for part_QD in self._queries(queries_QD)]
        first = 0
        for half_BD in blocks:
            unit_BD = _unit(half_BD.to(self._device))
            for part in parts:
                part.see(unit_BD, first)
            first += len(half_BD)
        scores = np.concatenate([part.scores_QK.cpu().numpy() for part in parts])
        return scores, np.concatenate([part.rows_QK.cpu().numpy() for part in parts])

    def _search_coarse(
        self, blocks: Iterable[torch.Tensor], queries_QD: NDArray[Any], k: int
    ) -> tuple[Float32, NDArray[np.int64]]:
        bf16 = fast_type(self._device) == torch.bfloat16
        form = self._form or ("bf16" if bf16 else "fp32")
        parts = [BestRows(part_QD, k, form) for part_QD in self._queries(queries_QD)]
        first = 0
        for half_BD in blocks:
            unit_BD = _unit(half_BD)
            coarse = Coarse(unit_BD, form)
            for part in parts:
                part.see(unit_BD, coarse, first)
            first += len(half_BD)
        scores = np.concatenate([part.scores_QK for part in parts])
        return scores, np.concatenate([part.rows_QK for part in parts])

    def _queries(self, queries_QD: NDArray[Any]) -> Iterator[torch.Tensor]:
        for low in range(0, len(queries_QD), _QUERIES_PER_MATMUL):
            part = np.array(queries_QD[low : low + _QUERIES_PER_MATMUL], dtype=np.float32)
            yield _unit(torch.from_numpy(part).to(self._device))

    def _blocks(self, read: Iterable[NDArray[Any]]) -> Iterator[torch.Tensor]:
        for vectors_BD in read:
            for low in range(0, len(vectors_BD), _ROWS_PER_MATMUL):
                part = np.array(vectors_BD[low : low + _ROWS_PER_MATMUL], dtype=np.float16)
                yield torch.from_numpy(part).to(self._device)


def _unit(rows_BD: torch.Tensor) -> torch.Tensor:
    """Rows in float32, of length 1; a row of zeros stays one."""
    return torch.nn.functional.normalize(rows_BD.float(), dim=1)


class _Best:
    """The ``k`` best of the blocks that some queries [Q, D] have seen, on a GPU."""

    def __init__(self, queries_QD: torch.Tensor, k: int) -> None:
        self._queries_QD, self._k = queries_QD, k
        shape, device = (len(queries_QD), 0), queries_QD.device
        self.scores_QK = torch.empty(shape, device=device)
        self.rows_QK = torch.empty(shape, dtype=torch.int64, device=device)

    def see(self, unit_BD: torch.Tensor, first: int) -> None:
        scores_QB = self._queries_QD @ unit_BD.T
        best_QK, place_QK = scores_QB.topk(min(self._k, len(unit_BD)), dim=1)
        scores_QK = torch.cat([self.scores_QK, best_QK], dim=1)
        rows_QK = torch.cat([self.rows_QK, place_QK + first], dim=1)
        self.scores_QK, order_QK = scores_QK.topk(min(self._k, scores_QK.shape[1]), dim=1)
        self.rows_QK = rows_QK.gather(1, order_QK)


class FaissIndex:
    """FAISS, on the GPU where ``device`` is one and FAISS was built for it.

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
        device: str = "cpu",
    ) -> None:
        faiss = require("faiss", extra="faiss", purpose="this neighbour index")
        self._dim = dim
        self.bytes_per_vector = 2 * dim + 8 if lists else 4 * dim
        flat = faiss.IndexFlatIP(dim)
        gpu = _gpu(faiss, device)
        self.name = f"{'ivf' if lists else 'faiss'} on {'cpu' if gpu is None else device}"
        if not lists:
            self._index = _placed(faiss, flat, gpu)
            return
        if sample_SD is None or len(sample_SD) < lists:
            raise ValueError(f"an index with {lists} lists needs at least as many sample vectors")
        index = faiss.IndexIVFScalarQuantizer(
            flat, dim, lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._quantizer = flat  # FAISS does not keep its own quantizer alive.
        index.cp.min_points_per_centroid = 1
        index.nprobe = min(probes, lists)
        self._index = _placed(faiss, index, gpu)
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


def choose_kind(rows: int, *, kind: Kind = "auto", queries: int | None = None) -> Kind:
    """Which index ``auto`` is for ``rows`` vectors and ``queries`` in all (None: many).

    Exact on torch up to :data:`EXACT_ROWS` vectors or :data:`EXACT_QUERIES` queries and where
    FAISS is not installed, else IVF.
    """
    if kind != "auto":
        return kind
    many = rows > EXACT_ROWS and (queries is None or queries > EXACT_QUERIES)
    return "ivf" if many and importlib.util.find_spec("faiss") is not None else "torch"


def open_index(
    rows: int,
    dim: int,
    *,
    kind: Kind = "auto",
    sample_SD: NDArray[Any] | None = None,
    device: str = "cpu",
    read: Reader | None = None,
) -> NeighbourIndex:
    """An empty index for about ``rows`` vectors of ``dim`` dimensions, on ``device``.

    ``auto``: see :func:`choose_kind`; IVF needs ``sample_SD`` (see :func:`sample_rows`) and is
    exact on torch without. ``read`` is for torch alone, see :class:`TorchIndex`.
    """
    if kind == "auto":
        kind = choose_kind(rows) if sample_SD is not None else "torch"
    if kind == "torch":
        return TorchIndex(dim, device=device, read=read)
    if kind == "faiss":
        return FaissIndex(dim, device=device)
    lists = ivf_lists(rows)
    probes = ivf_probes(lists)
    return FaissIndex(dim, lists=lists, probes=probes, sample_SD=sample_SD, device=device)


def ivf_lists(rows: int) -> int:
    """Cells of an approximate index: twice the square root of its rows, as a power of two."""
    most = max(rows, 1)
    return int(2 ** min(round(math.log2(2 * math.sqrt(most))), math.floor(math.log2(most))))


def ivf_probes(lists: int) -> int:
    """Cells that a search looks at: one in 64, eight at least."""
    return min(lists, max(8, lists // 64))


def sample_rows(rows: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Which of ``rows`` vectors, ascending, an approximate index of them is trained on."""
    count = min(rows, TRAINING_ROWS_PER_LIST * ivf_lists(rows))
    drawn = np.random.default_rng(seed).choice(rows, count, replace=False)
    return np.sort(drawn).astype(np.int64)


def _gpu(faiss: Any, device: str) -> int | None:
    """FAISS's number of the GPU; None for a CPU, and where this FAISS knows no GPU."""
    there = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()
    return (torch.device(device).index or 0) if device.startswith("cuda") and there else None


def _placed(faiss: Any, index: Any, gpu: int | None) -> Any:
    if gpu is None:
        return index
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), gpu, index)


def _check(vectors: NDArray[Any], dim: int) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise ValueError(f"vectors must have the shape [rows, {dim}], not {vectors.shape}")
