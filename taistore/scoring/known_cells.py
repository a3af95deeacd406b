"""What is known of the labels of images, as a matrix beside their scores.

Shapes: B images, N labels, P positives and Q negatives of the images.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.labels import ABSENT, PRESENT, UNKNOWN
from taistore.store.store import Store
from taistore.store.tables.label_lists import ragged

Known = Literal["override", "ignore"]
"""Tags follow what is known of an image where anything is (override), or scores alone (ignore)."""

KNOWN_COLUMNS = ("positives", "negatives", "complete")
"""Columns of ``images`` that say what is known."""


def known_cells(rows: pa.RecordBatch, labels: int) -> NDArray[np.int8]:
    """int8 [B, N] of rows with :data:`KNOWN_COLUMNS`, of a store of so many labels."""
    return truth_matrix(
        labels,
        ragged(rows.column("positives")),
        ragged(rows.column("negatives")),
        rows.column("complete").to_numpy(zero_copy_only=False),
    )


def stored_cells(store: Store, image_ids: Sequence[str]) -> NDArray[np.int8]:
    """int8 [B, N] of images by their ids; of one that the store does not have all is unknown."""
    found_BN = np.full((len(image_ids), len(store.labels)), UNKNOWN, np.int8)
    places: dict[str, list[int]] = {}
    for n, asked in enumerate(image_ids):
        places.setdefault(asked, []).append(n)
    columns = ["image_id", *KNOWN_COLUMNS]
    for batch in store.scan("images", columns=columns, where={"image_id": list(places)}):
        cells_BN = known_cells(batch, len(store.labels))
        for image_id, cells_N in zip(batch.column("image_id").to_pylist(), cells_BN, strict=True):
            found_BN[places[str(image_id)]] = cells_N
    return found_BN


def truth_matrix(
    labels: int,
    positives: tuple[NDArray[np.int64], NDArray[np.int32]],
    negatives: tuple[NDArray[np.int64], NDArray[np.int32]],
    complete_B: NDArray[np.bool_],
) -> NDArray[np.int8]:
    """int8 [B, N] from counts [B] and label ids [P] or [Q], one image after another.

    Labels of an image in neither list are absent where its labels are complete, else unknown.
    """
    truth_BN = np.where(complete_B[:, None], np.int8(ABSENT), np.int8(UNKNOWN)).repeat(
        labels, axis=1
    )
    for value, (counts_B, label_ids) in ((ABSENT, negatives), (PRESENT, positives)):
        truth_BN[np.repeat(np.arange(len(counts_B)), counts_B), label_ids] = value
    return truth_BN
