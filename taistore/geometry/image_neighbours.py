"""The images of a split in the vector table, found by cosine and averaged by group.

B batch, D embedding dimension, G groups, I images with a vector, P memberships.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taistore.geometry.centroids import not_finite, vector_blocks
from taistore.geometry.group_sums import GroupSums
from taistore.geometry.neighbours import (
    HELD_BYTES,
    Kind,
    NeighbourIndex,
    choose_kind,
    open_index,
    sample_rows,
)
from taistore.geometry.offsets import Float32
from taistore.progress import Progress, no_progress
from taistore.store.partial_labels import ImageLookup, PartialLabels
from taistore.store.store import Store

_ROWS_PER_READ = 4096
_IDS_PER_READ = 65_536


@dataclass(frozen=True, slots=True)
class ImageNeighbours:
    """The images of ``known`` that have a vector, ready to be searched by cosine.

    ``rows_I``: their rows in ``known``; ``positions_I``: their positions in the vector table.
    """

    store: Store
    encoder_id: str
    version: int
    known: PartialLabels
    index: NeighbourIndex
    rows_I: NDArray[np.int64]
    positions_I: NDArray[np.int64]

    @classmethod
    def build(
        cls,
        store: Store,
        encoder_id: str,
        known: PartialLabels,
        *,
        kind: Kind = "auto",
        queries: int | None = None,
        device: str = "cpu",
        version: int | None = None,
        progress: Progress = no_progress,
    ) -> "ImageNeighbours":
        """Index the vectors, or have exact search on the CPU read them where they are many.

        ``kind`` and ``queries``: see :func:`choose_kind`; ``device`` searches. Raises
        :class:`StoreError` naming table and image of a vector that is not finite.
        """
        table = store.table_name("image_vectors", encoder_id)
        now = store.versions([("image_vectors", encoder_id)]).get(table, 0)
        version = now if version is None else version
        rows_I, positions_I = image_places(store, encoder_id, known, version)
        dim = store.encoder(encoder_id).dim
        kind = choose_kind(len(rows_I), kind=kind, queries=queries) if len(rows_I) else "torch"
        sample_SD = None
        if kind == "ivf":
            sampled = positions_I[sample_rows(len(rows_I))]
            sample_SD = store.vectors_at(
                "image_vectors", sampled, encoder_id=encoder_id, version=version
            )

        def name(image: int) -> str:
            return f"image {known.image_ids[rows_I[image]].decode()}"

        def read() -> Iterator[NDArray[np.float16]]:
            with progress("index images", total=len(rows_I), unit="vectors") as bar:
                for vectors_BD in _vectors(store, encoder_id, version, positions_I, name):
                    yield vectors_BD
                    bar.advance(len(vectors_BD))

        held = device != "cpu" or kind != "torch" or 2 * dim * len(rows_I) <= HELD_BYTES
        index = open_index(
            len(rows_I),
            dim,
            kind=kind,
            sample_SD=sample_SD,
            device=device,
            read=None if held else read,
        )
        if held:
            for vectors_BD in read():
                index.add(vectors_BD)
        return cls(store, encoder_id, version, known, index, rows_I, positions_I)

    def means(
        self, rows_P: NDArray[np.int64], groups_P: NDArray[np.int64], groups: int
    ) -> tuple[Float32, NDArray[np.int64]]:
        """Mean vector and size of each group of index rows: [G, D] and [G]; 0 without any."""
        sums = GroupSums(groups, self.store.encoder(self.encoder_id).dim)
        order = np.argsort(self.positions_I[rows_P], kind="stable")
        there_U, counts_U = np.unique(self.positions_I[rows_P], return_counts=True)
        ends_U = np.cumsum(counts_U)
        for low in range(0, len(there_U), _ROWS_PER_READ):
            block = slice(low, low + _ROWS_PER_READ)
            vectors_BD = self.store.vectors_at(
                "image_vectors", there_U[block], encoder_id=self.encoder_id, version=self.version
            )
            first = int(ends_U[low - 1]) if low else 0
            members = order[first : int(ends_U[block][-1])]
            sums.add(vectors_BD, counts_U[block], groups_P[members])
        means_GD = sums.sums()
        means_GD /= np.maximum(sums.counts_G, 1)[:, None].astype(np.float32)
        return means_GD, sums.counts_G


def image_places(
    store: Store, encoder_id: str, known: PartialLabels, version: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of the images with a vector: their rows in ``known`` [I] and positions in the table [I]."""
    lookup = ImageLookup(known)
    rows, positions, seen = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    for batch in store.scan(
        "image_vectors",
        columns=["image_id"],
        encoder_id=encoder_id,
        batch_rows=_IDS_PER_READ,
        version=version or None,
    ):
        rows_B = lookup.find(batch.column(0))
        here = np.flatnonzero(rows_B >= 0)
        rows.append(rows_B[here])
        positions.append(here + seen)
        seen += batch.num_rows
    return np.concatenate(rows), np.concatenate(positions)


def _vectors(
    store: Store,
    encoder_id: str,
    version: int,
    positions_I: NDArray[np.int64],
    name: Callable[[int], str],
) -> Iterator[NDArray[np.float16]]:
    """The vectors at ascending positions in blocks [B, D], all finite.

    ``name`` says for an error which image is the n-th of them.
    """
    seen = 0
    for _, vectors_BD in vector_blocks(store, "image_vectors", encoder_id, [], version or None):
        first, end = np.searchsorted(positions_I, (seen, seen + len(vectors_BD)))
        there_BD = vectors_BD[positions_I[first:end] - seen]
        bad = np.flatnonzero(~np.isfinite(there_BD).all(axis=1))
        if len(bad):
            raise not_finite(store, "image_vectors", encoder_id, name(first + int(bad[0])))
        yield there_BD
        seen += len(vectors_BD)
