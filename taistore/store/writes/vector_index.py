"""The index over the vectors of a large table, by which the nearest are found without reading all.

Inverted lists with the vectors in 8 bits a dimension (Lance's IVF_SQ). Lists are learnt here, in
float32 from a sample: Lance learns them in float16, which takes some ten times as long on a CPU.

Shapes: B rows of a block, D embedding dimension, L lists, S sampled rows.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taistore.store.arrow import vector_array

INDEXED_KINDS = ("image_vectors",)
"""Tables that get one: those that ``find`` asks."""

MIN_ROWS = 200_000
"""Fewer vectors are read whole in less than a second (docs/finding.md)."""

REFINE = 2
"""How many times as many codes as asked are looked up in the vectors themselves."""

VECTOR = "vector"
"""The column that is indexed."""

_SAMPLE_A_LIST = 64
_ROUNDS = 8
_BLOCK = 4096

Float32 = NDArray[np.float32]


def has_vector_index(dataset: Any) -> bool:
    """Whether a table, a ``lance.LanceDataset``, has one."""
    return any(list(index.field_names) == [VECTOR] for index in dataset.describe_indices())


def make_vector_index(dataset: Any, *, min_rows: int | None = None) -> bool:
    """Make the index of a table that has none and is large enough; whether it has one now.

    ``min_rows`` is :data:`MIN_ROWS` where None. Rows that come later are searched exactly beside
    it, until ``optimize_indices`` takes them in.
    """
    if has_vector_index(dataset):
        return True
    rows = dataset.count_rows()
    if not rows or rows < (MIN_ROWS if min_rows is None else min_rows):
        return False
    centres_LD = _centres(_sample(dataset, rows), lists(rows))
    dataset.create_index(
        VECTOR,
        "IVF_SQ",
        metric="cosine",
        num_partitions=len(centres_LD),
        ivf_centroids=centres_LD.astype(np.float16),
    )
    return True


def lists(rows: int) -> int:
    """Inverted lists of so many rows: a quarter of the square root, as a power of two.

    >>> lists(1_000_000), lists(3_000)
    (256, 16)
    """
    return int(2 ** max(0, round(math.log2(math.sqrt(max(rows, 1)) / 4))))


def probes(rows: int) -> int:
    """Lists that a question looks at: one in 8, eight at least.

    >>> probes(1_000_000)
    32
    """
    return max(8, lists(rows) // 8)


def _sample(dataset: Any, rows: int) -> Float32:
    """Vectors of length 1 [S, D] at random, the same for the same table."""
    wanted = min(rows, _SAMPLE_A_LIST * lists(rows))
    places = np.sort(np.random.default_rng(0).choice(rows, wanted, replace=False))
    found = dataset.take(places.tolist(), columns=[VECTOR]).column(0).combine_chunks()
    sample_SD: Float32 = vector_array(found).astype(np.float32)
    return _unit(sample_SD[np.isfinite(sample_SD).all(axis=1) & sample_SD.any(axis=1)])


def _centres(sample_SD: Float32, count: int) -> Float32:
    """Centres [L, D] of ``count`` lists by cosine: spherical k-means."""
    random = np.random.default_rng(0)
    count = min(count, len(sample_SD))
    centres_LD = sample_SD[random.choice(len(sample_SD), count, replace=False)].copy()
    for _ in range(_ROUNDS):
        nearest_S = np.concatenate(
            [
                (sample_SD[low : low + _BLOCK] @ centres_LD.T).argmax(axis=1)
                for low in range(0, len(sample_SD), _BLOCK)
            ]
        )
        sizes_L = np.bincount(nearest_S, minlength=count)
        starts_L = np.cumsum(sizes_L) - sizes_L
        order = np.argsort(nearest_S, kind="stable")
        used = np.flatnonzero(sizes_L)
        centres_LD[used] = _unit(np.add.reduceat(sample_SD[order], starts_L[used], axis=0))
    return centres_LD


def _unit(rows_BD: Float32) -> Float32:
    lengths_B1 = np.linalg.norm(rows_BD, axis=1, keepdims=True)
    unit_BD: Float32 = rows_BD / np.maximum(lengths_B1, np.float32(1e-12))
    return unit_BD
