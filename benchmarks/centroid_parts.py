"""What each part of label centroids costs, beside what all of it does: microseconds a row."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.random_encoder import ENCODER
from taistore.geometry.centroids import vector_blocks
from taistore.geometry.group_sums import BLOCK_ROWS, SLICE_DIMS, _Block, _products
from taistore.store.partial_labels import ImageLookup, PartialLabels
from taistore.store.store import Store

ROWS = 8 * BLOCK_ROWS
"""256 MiB of vectors, more than any cache holds."""


def parts(store: Store, known: PartialLabels) -> dict[str, float]:
    """By part, the CPU time of this thread over :data:`ROWS` rows that are in memory already."""
    taken: dict[str, float] = defaultdict(float)

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.thread_time()
        yield
        taken[name] += time.thread_time() - began

    lookup, block = ImageLookup(known), _Block(BLOCK_ROWS, ENCODER.dim, SLICE_DIMS)
    slices = -(-ENCODER.dim // SLICE_DIMS)
    sums_SGW = np.zeros((slices, known.labels, SLICE_DIMS), dtype=np.float32)
    ones_R = np.ones(BLOCK_ROWS, dtype=np.float32)
    held = _blocks(store)
    for read in [held[low : low + 4] for low in range(0, len(held), 4)]:
        members = []
        for number, (ids, vectors_BD) in enumerate(read):
            with timed("look-up of the ids"):
                rows_B = lookup.find(ids)
            with timed("labels of the rows"):
                members.append(known.positives.take(rows_B))
            with timed("a look for NaN, and cutting into slices"):
                block.keep(vectors_BD, at=number * len(vectors_BD))
        with timed("members sorted by label"):
            counts_R = np.concatenate([part.counts for part in members])
            groups_P = np.concatenate([part.label_ids for part in members])
            there_U, product = _products(counts_R, groups_P, groups=known.labels)
        cut = block.slices(BLOCK_ROWS)
        for number in range(slices):
            with timed("float16 to float32"):
                rows_RW = next(cut)
            with timed("sum of all rows"):
                _ = ones_R @ rows_RW
            with timed("sums of the labels"):
                found_UW = product(rows_RW)
            with timed("joining a block's sums to all"):
                sums_SGW[number][there_U] += found_UW
            with timed("squared norms, where asked for"):
                np.einsum("rw,rw->r", rows_RW, rows_RW)
    return {name: 1e6 * seconds / ROWS for name, seconds in taken.items()}


def _blocks(store: Store) -> list[tuple[Any, NDArray[np.float16]]]:
    """Ids [B] and vectors [B, D], as they are read."""
    held: list[tuple[Any, NDArray[np.float16]]] = []
    for (ids,), vectors_BD in vector_blocks(
        store, "image_vectors", ENCODER.encoder_id, ["image_id"], None
    ):
        held.append((ids, vectors_BD))
        if len(held) * len(vectors_BD) == ROWS:
            break
    return held
