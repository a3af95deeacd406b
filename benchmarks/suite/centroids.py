"""Label centroids of a store (Eq. 7) beside one scan of its vectors, and beside other ways."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from scipy.sparse import csr_array

from benchmarks.centroids import LABELS, LIMIT_MIB, make_images
from benchmarks.random_encoder import ENCODER
from benchmarks.suite.rows import Row, at_least, at_most
from benchmarks.suite.turns import apart, costs
from taistore.geometry.centroids import label_centroids, vector_blocks
from taistore.reproduction.without_data.peak_memory import peak_bytes
from taistore.store.partial_labels import ImageLookup, PartialLabels
from taistore.store.store import Store

POLARS_ROWS = 20_000
"""A frame of exploded vectors takes kilobytes a membership."""


def answer(work: Path, *, full: bool) -> Iterator[Row]:
    """Rows of CPU time and of peak memory."""
    count = 1_000_000 if full else 200_000
    path = work / f"images-{count}"
    store = make_images(path, rows=count)
    known = PartialLabels.read(store)
    size = f"{count:,} x {ENCODER.dim}, {LABELS:,} labels, {len(known.positives.label_ids):,} known"
    pieces = {
        "ours": lambda: label_centroids(store, ENCODER.encoder_id, known),
        "scan": lambda: _scan(store),
        "scipy": lambda: _scipy(store, known),
    }
    taken = costs(pieces, rounds=3)
    ours, scan, scipy = (taken[name].cpu for name in pieces)
    yield at_most(
        f"centroids: CPU s, {size}; other one scan that touches ids and vectors",
        ours=ours,
        other=scan,
        ratio=ours / scan,
        target=2,
    )
    yield at_least(
        f"centroids: CPU s, {size}; other scipy's csr.T @ X by blocks of a scan",
        ours=ours,
        other=scipy,
        ratio=scipy / ours,
        target=1,
    )
    yield _polars_row(work)
    peak = apart(_peak_mib, path)
    yield at_most(
        f"centroids: peak MiB with Python, torch and Lance, {size}; other the limit",
        ours=peak,
        other=LIMIT_MIB,
        ratio=peak / LIMIT_MIB,
        target=1,
    )


def _scan(store: Store) -> None:
    keys = ["image_id"]
    for _, vectors_BD in vector_blocks(store, "image_vectors", ENCODER.encoder_id, keys, None):
        np.bitwise_or.reduce(vectors_BD.reshape(-1).view(np.uint64))


def _scipy(store: Store, known: PartialLabels) -> None:
    """The means alone, without norms, total and a look for what is not finite."""
    lookup = ImageLookup(known)
    sums_ND = np.zeros((known.labels, ENCODER.dim), dtype=np.float32)
    keys = ["image_id"]
    for (ids,), vectors_BD in vector_blocks(store, "image_vectors", ENCODER.encoder_id, keys, None):
        there = known.positives.take(lookup.find(ids))
        starts = np.concatenate([[0], np.cumsum(there.counts)])
        ones = np.ones(len(there.label_ids), dtype=np.float32)
        shape = (len(vectors_BD), known.labels)
        members_BN = csr_array((ones, there.label_ids, starts), shape=shape)
        sums_ND += members_BN.T @ vectors_BD.astype(np.float32)
    sums_ND /= np.maximum(known.positives_per_label, 1)[:, None].astype(np.float32)


def _polars_row(work: Path) -> Row:
    """A group-by of exploded memberships, on fewer rows, with vectors in memory already."""
    store = make_images(work / f"images-{POLARS_ROWS}", rows=POLARS_ROWS)
    known = PartialLabels.read(store)
    blocks = list(vector_blocks(store, "image_vectors", ENCODER.encoder_id, ["image_id"], None))
    vectors_BD = np.concatenate([block_BD for _, block_BD in blocks]).astype(np.float32)
    rows = np.concatenate([known.find(ids) for (ids,), _ in blocks])
    names = [f"d{d}" for d in range(ENCODER.dim)]
    there = known.positives.take(rows)
    starts = np.concatenate([[0], np.cumsum(there.counts)])
    labels = [there.label_ids[a:b].tolist() for a, b in pairwise(starts.tolist())]
    frame = pl.DataFrame(vectors_BD, schema=names).with_columns(pl.Series("label", labels))
    taken = costs(
        {
            "ours": lambda: label_centroids(store, ENCODER.encoder_id, known),
            "polars": lambda: frame.lazy().explode("label").group_by("label").mean().collect(),
        },
        rounds=3,
    )
    ours, other = taken["ours"].cpu, taken["polars"].cpu
    return at_least(
        f"centroids: CPU s, {POLARS_ROWS:,} x {ENCODER.dim}, {LABELS:,} labels; other polars' "
        "explode and group-by of a frame in memory",
        ours=ours,
        other=other,
        ratio=other / ours,
        target=1,
    )


def _peak_mib(path: Path) -> float:
    store = Store.open(path)
    label_centroids(store, ENCODER.encoder_id, PartialLabels.read(store))
    return peak_bytes() / 2**20
