"""Centroids: of the images known to show a label (Eq. 7), of a combination's texts (Eq. 8).

Equations of arXiv:2312.04160. B batch, C combinations with texts, D embedding dimension, I images,
N labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from taistore.errors import StoreError
from taistore.geometry.combination_means import RowFile, open_means
from taistore.geometry.group_sums import GroupSums, NonFiniteRowError
from taistore.progress import Progress, no_progress
from taistore.store.arrow import vector_array
from taistore.store.combination_rows import CombinationIndex, find_rows
from taistore.store.partial_labels import ImageLookup, PartialLabels
from taistore.store.store import Store

if TYPE_CHECKING:
    from taistore.geometry.device_sums import DeviceSums

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class LabelCentroids:
    """Per label the mean of the images known to show it (Eq. 7): float32 [N, D], and its spread.

    ``counts_N``: how many images that is; a label without any has the mean 0 and the dispersion
    NaN. ``dispersions_N``: mean squared distance of those images to their mean, in squared vector
    units, which estimates the trace of their covariance (its expectation is ``1 - 1 / count`` of
    it); dispersion over count is thus about the squared error of the mean. It is NaN of all labels
    where nobody asked for it. ``mean_D``: mean of all
    ``images``, whatever is known of them. ``without_vector`` images have no vector of this encoder
    and count nowhere.
    """

    means_ND: Float32
    counts_N: NDArray[np.int64]
    dispersions_N: Float32
    mean_D: Float32
    images: int
    without_vector: int = 0

    @property
    def labels(self) -> int:
        """N."""
        return len(self.counts_N)


@dataclass(frozen=True, slots=True)
class CombinationCentroids:
    """Per combination the mean of its texts (Eq. 8): float32 [C, D], of many in a file.

    ``combination_ids`` [C] are sorted and hold the combinations that have text vectors;
    ``counts_C``: how many. ``means_CD`` is read by rows. ``mean_D``: mean of all texts.
    """

    combination_ids: NDArray[np.int64]
    means_CD: Float32 | RowFile
    counts_C: NDArray[np.int64]
    mean_D: Float32

    def __len__(self) -> int:
        return len(self.combination_ids)

    def rows(self, combination_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Row of each id [B]; raises KeyError on a combination without texts."""
        missing = "a combination_id has no text vectors of this encoder"
        return find_rows(self.combination_ids, combination_ids, missing=missing)


def label_centroids(
    store: Store,
    encoder_id: str,
    known: PartialLabels,
    *,
    version: int | None = None,
    dispersions: bool = False,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> LabelCentroids:
    """Eq. 7 over the stored image vectors in one pass; unknown is not negative, and not positive.

    Memory is 8 bytes times N x D and a block of vectors. ``version`` pins the vector table.
    ``dispersions`` add 4 to 8 % to the cost. ``device`` adds up: another than ``cpu`` in float64,
    so that means differ by rounding alone.
    Raises :class:`StoreError` naming table and image of a vector that is not finite.
    """
    sums = _label_sums(known.labels, store.encoder(encoder_id).dim, device, dispersions)
    lookup = ImageLookup(known)
    blocks = vector_blocks(store, "image_vectors", encoder_id, ["image_id"], version)
    total = store.count("image_vectors", encoder_id)
    with progress("label centroids", total=total, unit="vectors") as bar:
        for (ids,), vectors_BD in blocks:
            rows_B = lookup.find(ids)
            here = rows_B >= 0
            chosen_BD = vectors_BD if here.all() else vectors_BD[here]
            positives = known.positives.take(rows_B[here])
            try:
                sums.add(chosen_BD, positives.counts, positives.label_ids)
            except NonFiniteRowError as error:
                name = ids[int(np.flatnonzero(here)[error.row])].as_py()
                raise not_finite(store, "image_vectors", encoder_id, f"image {name}") from None
            bar.advance(len(vectors_BD))
    return label_means(sums, images=len(known))


def synthetic_centroids(
    store: Store,
    encoder_id: str,
    index: CombinationIndex,
    *,
    version: int | None = None,
    dispersions: bool = False,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> LabelCentroids:
    """Eq. 7 over synthetic images: of a label those that were made from texts that hold it.

    ``index``: the store's combinations. The rest is that of :func:`label_centroids`.
    """
    sums = _label_sums(len(store.labels), store.encoder(encoder_id).dim, device, dispersions)
    keys = ["synthetic_id", "combination_id"]
    blocks = vector_blocks(store, "synthetic_vectors", encoder_id, keys, version)
    total = store.count("synthetic_vectors", encoder_id)
    with progress("label centroids", total=total, unit="vectors") as bar:
        for (names, ids), vectors_BD in blocks:
            try:
                sums.add(vectors_BD, *index.positives(ids.to_numpy()))
            except NonFiniteRowError as error:
                place = f"synthetic image {names[error.row].as_py()}"
                raise not_finite(store, "synthetic_vectors", encoder_id, place) from None
            bar.advance(len(vectors_BD))
    return label_means(sums, images=sums.rows)


def _label_sums(labels: int, dim: int, device: str, dispersions: bool) -> "GroupSums | DeviceSums":
    if device == "cpu":
        return GroupSums(labels, dim, squares=dispersions)
    # Here, not above: torch takes half a gigabyte to import.
    from taistore.geometry.device_sums import DeviceSums

    return DeviceSums(labels, dim, device=device)


def label_means(sums: "GroupSums | DeviceSums", *, images: int) -> LabelCentroids:
    """Divide the sums of labels by their counts; ``images`` were asked for."""
    return finished(
        sums.sums(),
        sums.counts_G,
        sums.squares_G,
        sums.total(),
        vectors=sums.rows,
        without_vector=images - sums.rows,
    )


def finished(
    sums_ND: NDArray[Any],
    counts_N: NDArray[np.int64],
    squares_N: NDArray[np.float64],
    total_D: NDArray[np.float64],
    *,
    vectors: int,
    without_vector: int,
) -> LabelCentroids:
    """Means and dispersions from sums; a float32 ``sums_ND`` is overwritten."""
    divisor_N = np.maximum(counts_N, 1)
    means_ND = np.divide(sums_ND, divisor_N[:, None], dtype=np.float32, out=_own(sums_ND))
    lengths_N = np.einsum("nd,nd->n", means_ND, means_ND, dtype=np.float64)
    dispersions_N = np.maximum(squares_N / divisor_N - lengths_N, 0.0)
    # What is left of one image is rounding.
    dispersions_N[counts_N == 1] *= 0.0
    dispersions_N[counts_N == 0] = np.nan
    return LabelCentroids(
        means_ND=means_ND,
        counts_N=counts_N,
        dispersions_N=dispersions_N.astype(np.float32),
        mean_D=(total_D / max(vectors, 1)).astype(np.float32),
        images=vectors,
        without_vector=without_vector,
    )


def combination_centroids(
    store: Store,
    encoder_id: str,
    *,
    index: CombinationIndex | None = None,
    version: int | None = None,
    progress: Progress = no_progress,
) -> CombinationCentroids:
    """Eq. 8 over the stored text vectors in one pass; memory is a block beside 64 MiB of means.

    More means than that go to a file (see :class:`RowFile`). ``index``: the store's combinations,
    where the caller has them. ``version`` pins the vector table. Raises :class:`StoreError` naming
    the table and the text of a vector that is not finite.
    """
    index = store.combination_index() if index is None else index
    ids = stored_combinations(store, "text_vectors", encoder_id, version)
    there = np.unique(index.rows(np.unique(ids)))
    sums = open_means(len(there), store.encoder(encoder_id).dim)
    keys = ["text_id", "combination_id"]
    blocks = vector_blocks(store, "text_vectors", encoder_id, keys, version)
    with progress(
        "text centroids", total=store.count("text_vectors", encoder_id), unit="vectors"
    ) as bar:
        for (text_ids, ids), vectors_BD in blocks:
            try:
                sums.add(vectors_BD, np.searchsorted(there, index.rows(ids.to_numpy())))
            except NonFiniteRowError as error:
                name = text_ids[error.row].as_py()
                raise not_finite(store, "text_vectors", encoder_id, f"text {name}") from None
            bar.advance(len(vectors_BD))
    return CombinationCentroids(
        combination_ids=index.combination_ids[there],
        means_CD=sums.means(),
        counts_C=sums.counts_G,
        mean_D=sums.mean(),
    )


def stored_combinations(
    store: Store, kind: str, encoder_id: str, version: int | None
) -> NDArray[np.int64]:
    """Combination [M] of every vector of texts or synthetic images, by position."""
    parts = [np.empty(0, dtype=np.int64)]
    for batch in store.scan(
        kind,
        columns=["combination_id"],
        encoder_id=encoder_id,
        batch_rows=65_536,
        version=version,
    ):
        parts.append(batch.column(0).to_numpy())
    return np.concatenate(parts)


def vector_blocks(
    store: Store, kind: str, encoder_id: str, keys: Sequence[str], version: int | None
) -> Iterator[tuple[list[Any], NDArray[np.float16]]]:
    """Key columns [B] and vectors [B, D] of a whole table."""
    columns = [*keys, "vector"]
    for batch in store.scan(kind, columns=columns, encoder_id=encoder_id, version=version):
        if batch.num_rows:
            yield batch.columns[:-1], vector_array(batch.columns[-1])


def not_finite(store: Store, kind: str, encoder_id: str, place: str) -> StoreError:
    """The error for a vector with NaN or infinity; ``place`` names it within its table."""
    return StoreError(
        f"{store.uri}: {store.table_name(kind, encoder_id)}: the vector of {place} is not finite "
        "(NaN or infinity): write it again with a sound encoder"
    )


def _own(sums_ND: NDArray[Any]) -> Float32:
    """Where the means go: over float32 sums, else into new memory."""
    if sums_ND.dtype == np.float32:
        return sums_ND
    return np.empty(sums_ND.shape, dtype=np.float32)
