"""What is known of the labels of images, as a matrix beside their scores.

Shapes: B images, N labels, P positives and Q negatives of the images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.labels import ABSENT, PRESENT, UNKNOWN
from taistore.store.store import Store
from taistore.store.tables.label_lists import Ragged, covered_labels, joined, ragged

Known = Literal["override", "ignore"]
"""Tags follow what is known of an image where anything is (override), or scores alone (ignore)."""

KNOWN_COLUMNS = ("positives", "negatives", "complete", "covered")
"""Columns of ``images`` that say what is known."""


def known_cells(rows: pa.RecordBatch, labels: int) -> NDArray[np.int8]:
    """int8 [B, N] of rows with :data:`KNOWN_COLUMNS`, of a store of so many labels."""
    return KnownCells.of(rows).matrix(labels)


@dataclass(frozen=True, slots=True)
class KnownCells:
    """What is known of images, label by label.

    Of an image's other labels the first ``covered_B`` are absent, the rest is unknown.
    """

    positives: Ragged
    negatives: Ragged
    covered_B: NDArray[np.int32]

    @classmethod
    def of(cls, rows: pa.RecordBatch) -> Self:
        """From rows with :data:`KNOWN_COLUMNS`."""
        return cls(
            Ragged.build(*ragged(rows.column("positives"))),
            Ragged.build(*ragged(rows.column("negatives"))),
            covered_labels(rows),
        )

    def take(self, rows_B: NDArray[np.int64]) -> "KnownCells":
        """These images, in this order."""
        return KnownCells(
            self.positives.take(rows_B), self.negatives.take(rows_B), self.covered_B[rows_B]
        )

    def matrix(self, labels: int) -> NDArray[np.int8]:
        """int8 [B, N]."""
        positives, negatives = (
            (lists.counts, lists.label_ids) for lists in (self.positives, self.negatives)
        )
        return truth_matrix(labels, positives, negatives, self.covered_B)

    def shown(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and label ids of what is there, each once, by row and by label."""
        rows, label_ids = self.positives.rows, self.positives.label_ids.astype(np.int64)
        pairs = np.unique(np.stack([rows, label_ids]), axis=1)
        return pairs[0], pairs[1]

    def stated(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and label ids of what is there and of what is stated not to be."""
        both = (self.positives, self.negatives)
        rows = np.concatenate([lists.rows for lists in both])
        return rows, np.concatenate([lists.label_ids for lists in both]).astype(np.int64)


def stored_cells(store: Store, image_ids: Sequence[str]) -> KnownCells:
    """Of images by their ids; of one that the store does not have all is unknown."""
    places: dict[str, list[int]] = {}
    for n, asked in enumerate(image_ids):
        places.setdefault(asked, []).append(n)
    columns = ["image_id", *KNOWN_COLUMNS]
    # The last row stands for images that are not there.
    rows_B = np.full(len(image_ids), -1)
    found, seen = [], 0
    for batch in store.scan("images", columns=columns, where={"image_id": list(places)}):
        for row, image_id in enumerate(batch.column("image_id").to_pylist()):
            rows_B[places[str(image_id)]] = seen + row
        found.append(KnownCells.of(batch))
        seen += batch.num_rows
    nothing = Ragged.build(np.zeros(1, np.int64), np.empty(0, np.int32))
    found.append(KnownCells(nothing, nothing, np.zeros(1, np.int32)))
    whole = KnownCells(
        joined([cells.positives for cells in found]),
        joined([cells.negatives for cells in found]),
        np.concatenate([cells.covered_B for cells in found]),
    )
    return whole.take(np.where(rows_B < 0, seen, rows_B))


def truth_matrix(
    labels: int,
    positives: tuple[NDArray[np.int64], NDArray[np.int32]],
    negatives: tuple[NDArray[np.int64], NDArray[np.int32]],
    covered_B: NDArray[np.int32],
) -> NDArray[np.int8]:
    """int8 [B, N] from counts [B] and label ids [P] or [Q], one image after another.

    Of an image's labels in neither list the first ``covered_B`` are absent, the others unknown.
    """
    covered_BN = np.arange(labels) < covered_B[:, None]
    truth_BN = np.where(covered_BN, np.int8(ABSENT), np.int8(UNKNOWN))
    for value, (counts_B, label_ids) in ((ABSENT, negatives), (PRESENT, positives)):
        truth_BN[np.repeat(np.arange(len(counts_B)), counts_B), label_ids] = value
    return truth_BN
