"""Images whose labels are known, with their vectors: photos of a split, or synthetic images.

Shapes: B images of a batch, N labels, D embedding dimension, R regions per image.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from taistore.errors import ScoringError
from taistore.labels import ABSENT, PRESENT
from taistore.scoring.known_cells import KNOWN_COLUMNS, known_cells
from taistore.scoring.stored_images import (
    some_have_regions,
    some_synthetic_have_regions,
    stored_batches,
    synthetic_batches,
)
from taistore.store.store import Store
from taistore.store.tables.label_lists import covered_labels, ragged
from taistore.synthetic.image_pending import require_synthetic_images


class LabelledRows(NamedTuple):
    """Images with a vector: their ids, what is known of them [B, N] and their vectors.

    Either all have regions, or ``regions_BRD`` is None. ``without_vectors`` images of the same read
    are labelled, but have no vector.
    """

    image_ids: list[str]
    truth_BN: NDArray[np.int8]
    whole_BD: NDArray[np.float16]
    regions_BRD: NDArray[np.float16] | None
    without_vectors: int


class LabelledImages(Protocol):
    """Images of which some label is known, read again and again in the same order."""

    @property
    def count(self) -> int:
        """How many they are, with or without a vector."""
        ...

    @property
    def known_counts(self) -> NDArray[np.int64]:
        """Of how many of them each label is known at most: [N]."""
        ...

    @property
    def regions(self) -> bool:
        """Whether any has region vectors."""
        ...

    def batches(self) -> Iterator[LabelledRows]:
        """All of them; one batch may hold no image."""
        ...


class LabelledPhotos:
    """The labelled images of a split: those whose labels are complete or known in part.

    Raises :class:`ScoringError` where there are none.
    """

    def __init__(self, store: Store, encoder_id: str, split: str) -> None:
        self._store, self._encoder_id, self._where = store, encoder_id, {"split": split}
        self.count = labelled_images(store, split)
        self.known_counts = known_per_label(store, split)
        self.regions = some_have_regions(store, encoder_id, where=self._where)

    def batches(self) -> Iterator[LabelledRows]:
        """See :class:`LabelledImages`."""
        for stored in stored_batches(
            self._store,
            self._encoder_id,
            columns=KNOWN_COLUMNS,
            regions=self.regions,
            where=self._where,
        ):
            known = np.flatnonzero(_known(stored.rows))
            rows, regions_BRD = stored.rows.take(known), stored.regions_BRD
            yield LabelledRows(
                image_ids=[str(i) for i in rows.column("image_id").to_pylist()],
                truth_BN=known_cells(rows, len(self._store.labels)),
                whole_BD=stored.whole_BD[known],
                regions_BRD=None if regions_BRD is None else regions_BRD[known],
                without_vectors=int(_known(stored.without_vector).sum()),
            )


class SyntheticImages:
    """The synthetic images of an encoder, as they are now: what is made later is not among them.

    Each shows the labels of its text and no other. Raises :class:`SyntheticError` where there are
    none.
    """

    def __init__(self, store: Store, encoder_id: str) -> None:
        self._store, self._encoder_id = store, encoder_id
        # In this order: regions are written before the vector, so that none is missed.
        kinds = ("synthetic_vectors", "synthetic_regions")
        self._versions = store.versions([(kind, encoder_id) for kind in kinds])
        self._index = store.combination_index()
        self.count = require_synthetic_images(store, encoder_id, versions=self._versions)
        self.known_counts = np.full(len(store.labels), self.count, np.int64)
        self.regions = some_synthetic_have_regions(store, encoder_id, versions=self._versions)

    def batches(self) -> Iterator[LabelledRows]:
        """See :class:`LabelledImages`."""
        for stored in synthetic_batches(
            self._store, self._encoder_id, regions=self.regions, versions=self._versions
        ):
            yield LabelledRows(
                image_ids=[str(i) for i in stored.rows.column("synthetic_id").to_pylist()],
                truth_BN=self._truth(stored.rows.column("combination_id").to_numpy()),
                whole_BD=stored.whole_BD,
                regions_BRD=stored.regions_BRD,
                without_vectors=0,
            )

    def _truth(self, combination_ids: NDArray[np.int64]) -> NDArray[np.int8]:
        counts_B, label_ids = self._index.positives(combination_ids)
        truth_BN = np.full((len(counts_B), len(self.known_counts)), ABSENT, np.int8)
        truth_BN[np.repeat(np.arange(len(counts_B)), counts_B), label_ids] = PRESENT
        return truth_BN


def _known(rows: pa.RecordBatch) -> NDArray[np.bool_]:
    """Which rows say anything about their labels: bool [B]."""
    known: NDArray[np.bool_] = covered_labels(rows) > 0
    for name in ("positives", "negatives"):
        known |= pc.list_value_length(rows.column(name)).to_numpy(zero_copy_only=False) > 0
    return known


def known_per_label(store: Store, split: str) -> NDArray[np.int64]:
    """Of how many images of the split each label is known at most: [N]."""
    known_N = np.zeros(len(store.labels), np.int64)
    for rows in store.scan("images", columns=KNOWN_COLUMNS, where={"split": split}):
        covered_B = np.minimum(covered_labels(rows), len(known_N))
        # Label n is covered in every image that covers more than n.
        ends = np.bincount(covered_B, minlength=len(known_N) + 1)
        known_N += len(covered_B) - np.cumsum(ends)[:-1]
        for name in ("positives", "negatives"):
            counts_B, label_ids = ragged(rows.column(name))
            beyond = label_ids >= np.repeat(covered_B, counts_B)
            known_N += np.bincount(label_ids[beyond], minlength=len(known_N))
    return known_N


def splits_with_labels(store: Store) -> tuple[Counter[str], Counter[str]]:
    """Images of each split, and those of them of which some label is known."""
    images: Counter[str] = Counter()
    labelled: Counter[str] = Counter()
    for rows in store.scan("images", columns=["split", *KNOWN_COLUMNS]):
        names = np.asarray(rows.column("split").to_pylist(), dtype=object)
        images.update(names.tolist())
        labelled.update(names[_known(rows)].tolist())
    return images, labelled


def labelled_images(store: Store, split: str) -> int:
    """Images of the split with known labels; ScoringError names the splits that have some."""
    images, labelled = splits_with_labels(store)
    if labelled[split]:
        return labelled[split]
    there = ", ".join(f"{name!r} ({count:,})" for name, count in sorted(labelled.items()) if count)
    remedy = (
        f"name one of those that have them ({there}) with split="
        if there
        else "ingest a manifest that names labels, such as "
        '{"image": "a.jpg", "labels": ["dog"], "split": "test"}'
    )
    if images[split]:
        what = f"none of the {images[split]:,} images of split {split!r} has known labels"
    else:
        what = f"split {split!r} holds no images"
    raise ScoringError(f"{store.uri}: {what}: {remedy}")
