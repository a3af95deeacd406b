"""What is known about the labels of many images, in memory as compressed sparse rows.

I images, N labels, B images that are asked for, P known positives, Q known negatives. A label of
an image that is neither positive nor negative is unknown, and unknown is never negative.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taistore.labels import ABSENT, PRESENT, UNKNOWN
from taistore.store.seeded_hashes import image_keys, uniform
from taistore.store.store import Store
from taistore.store.tables.label_lists import Ragged, covered_labels, joined, ragged

IMAGE_ID = "S32"
"""An image id is 32 hexadecimal digits: as fixed-width bytes nine million take 288 MB."""

_CELLS = 2**22
"""Cells drawn at once when a mask is made."""

_STEPS = 8
"""Neighbours that a look-up tries; of ids that are hashes one in a million may need more."""


@dataclass(frozen=True, slots=True)
class PartialLabels:
    """Known labels of I images, sorted by ``image_ids`` (bytes [I]); N is ``labels``.

    Of an image's first ``covered`` labels [I] (int32) every one that is not positive is absent, and
    ``negatives`` need not list it: of none, where its labels were not said to be complete.
    """

    labels: int
    image_ids: NDArray[np.bytes_]
    positives: Ragged
    negatives: Ragged
    covered: NDArray[np.int32]

    @classmethod
    def build(
        cls,
        labels: int,
        image_ids: Sequence[str] | NDArray[np.bytes_],
        positives: Ragged,
        negatives: Ragged,
        covered: NDArray[np.int32],
    ) -> "PartialLabels":
        """From rows in any order, every image once."""
        ids = np.asarray(image_ids, dtype=IMAGE_ID)
        order = np.argsort(ids, kind="stable")
        return cls(labels, ids[order], positives.take(order), negatives.take(order), covered[order])

    @classmethod
    def read(
        cls, store: Store, *, split: str | None = None, version: int | None = None
    ) -> "PartialLabels":
        """All images of the store, or of one split, at a version of the table ``images``."""
        ids: list[NDArray[np.bytes_]] = [np.empty(0, IMAGE_ID)]
        covered: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        lists: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int32]]]] = {
            name: [(np.empty(0, np.int64), np.empty(0, np.int32))]
            for name in ("positives", "negatives")
        }
        for batch in store.scan(
            "images",
            columns=["image_id", "positives", "negatives", "complete", "covered"],
            where={"split": split} if split is not None else None,
            batch_rows=65_536,
            version=version,
        ):
            ids.append(_id_bytes(batch.column("image_id")))
            covered.append(covered_labels(batch))
            for name, parts in lists.items():
                parts.append(ragged(batch.column(name)))
        # Part by part, so that no more than one of them is there twice.
        found = {
            name: Ragged.build(*map(np.concatenate, zip(*lists.pop(name), strict=True)))
            for name in tuple(lists)
        }
        ids_I = np.concatenate(ids)
        ids.clear()
        return cls.build(
            len(store.labels),
            ids_I,
            found["positives"],
            found["negatives"],
            np.concatenate(covered),
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which images have any known label: bool [I]."""
        return (self.covered > 0) | (self.positives.counts > 0) | (self.negatives.counts > 0)

    @property
    def known_counts(self) -> NDArray[np.int64]:
        """How many labels of each image are known: int64 [I]."""
        listed_I = self.positives.counts + self.negatives.counts
        covered_I = np.minimum(self.covered, self.labels).astype(np.int64)
        partly = np.flatnonzero((covered_I > 0) & (covered_I < self.labels))
        # Of labels that came later some may be listed, and are not among those that are covered.
        covered_I[partly] += self._listed_beyond(partly)
        return np.where(covered_I > 0, covered_I, listed_I).astype(np.int64)

    def _listed_beyond(self, rows_B: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many labels these images list that are not covered: [B]."""
        beyond_B = np.zeros(len(rows_B), np.int64)
        for lists in (self.positives.take(rows_B), self.negatives.take(rows_B)):
            beyond = lists.label_ids >= self.covered[rows_B][lists.rows]
            beyond_B += np.bincount(lists.rows[beyond], minlength=len(rows_B))
        return beyond_B

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Whether all labels of each image are known: bool [I]."""
        return self.covered >= self.labels

    @property
    def positives_per_label(self) -> NDArray[np.int64]:
        """Images known to show each label [N]."""
        return np.bincount(self.positives.label_ids, minlength=self.labels)

    def find(
        self, image_ids: "pa.Array[Any] | Sequence[str] | NDArray[np.bytes_]"
    ) -> NDArray[np.int64]:
        """Row of each image [B], -1 for those that are not here."""
        asked = np.asarray(
            image_ids.to_pylist() if isinstance(image_ids, pa.Array) else image_ids, dtype=IMAGE_ID
        )
        if not len(self):
            return np.full(len(asked), -1)
        rows = np.minimum(np.searchsorted(self.image_ids, asked), len(self) - 1)
        return np.where(self.image_ids[rows] == asked, rows, -1).astype(np.int64)

    def take(self, rows_B: NDArray[np.int64]) -> "PartialLabels":
        """These images; ``rows_B`` ascending, so that the ids stay sorted."""
        return PartialLabels(
            self.labels,
            self.image_ids[rows_B],
            self.positives.take(rows_B),
            self.negatives.take(rows_B),
            self.covered[rows_B],
        )

    def unlabelled(self) -> "PartialLabels":
        """The same images, of which nothing is known."""
        nothing = Ragged.build(np.zeros(len(self), np.int64), np.empty(0, np.int32))
        return PartialLabels(self.labels, self.image_ids, nothing, nothing, self._none)

    def masked(self, known: float, *, seed: int) -> "PartialLabels":
        """Each known cell stays known with probability ``known``, the others become unknown.

        The setting of 4.1 of arXiv:2312.04160. A cell's fate depends on its image, its label and
        the seed alone: not on the order or number of images, and what is known at 10 % is also
        known at 50 %.
        """
        if not 0 <= known <= 1:
            raise ValueError(f"known must lie between 0 and 1, not {known}")
        keys_I = image_keys(self.image_ids, seed)
        listed, whole = np.flatnonzero(self.covered == 0), np.flatnonzero(self.covered)
        found = [self._listed_kept(listed, keys_I, known), self._whole_kept(whole, keys_I, known)]
        order = np.argsort(np.concatenate([listed, whole]))
        positives, negatives = (joined([part[n] for part in found], order) for n in range(2))
        return PartialLabels(self.labels, self.image_ids, positives, negatives, self._none)

    @property
    def _none(self) -> NDArray[np.int32]:
        return np.zeros(len(self), dtype=np.int32)

    def _listed_kept(
        self, rows_B: NDArray[np.int64], keys_I: NDArray[np.uint64], known: float
    ) -> tuple[Ragged, Ragged]:
        """What stays known of images without covered labels: only listed cells are drawn."""
        positives, negatives = self.positives.take(rows_B), self.negatives.take(rows_B)
        present_P = positives.rows * self.labels + positives.label_ids
        absent_Q = np.setdiff1d(negatives.rows * self.labels + negatives.label_ids, present_P)
        kept = []
        for cells in (np.unique(present_P), absent_Q):
            row_P, label_P = np.divmod(cells, max(self.labels, 1))
            stays_P = uniform(keys_I[rows_B[row_P]], label_P) < known
            counts_B = np.bincount(row_P[stays_P], minlength=len(rows_B))
            kept.append(Ragged.build(counts_B, label_P[stays_P].astype(np.int32)))
        return kept[0], kept[1]

    def _whole_kept(
        self, rows_B: NDArray[np.int64], keys_I: NDArray[np.uint64], known: float
    ) -> tuple[Ragged, Ragged]:
        """What stays known of images with covered labels, drawn a block of cells at a time."""
        parts: tuple[list[Ragged], list[Ragged]] = ([], [])
        step = max(1, _CELLS // max(self.labels, 1))
        label_N = np.arange(self.labels)
        for low in range(0, len(rows_B), step):
            rows_b = rows_B[low : low + step]
            truth_bN = self.truth(rows_b)
            truth_bN[uniform(keys_I[rows_b][:, None], label_N) >= known] = UNKNOWN
            for part, value in zip(parts, (PRESENT, ABSENT), strict=True):
                row_P, label_P = np.nonzero(truth_bN == value)
                counts_b = np.bincount(row_P, minlength=len(rows_b))
                part.append(Ragged.build(counts_b, label_P.astype(np.int32)))
        return joined(parts[0]), joined(parts[1])

    def cells(self, rows: NDArray[np.int64], label_ids: NDArray[np.int64]) -> NDArray[np.int8]:
        """What is known of single cells, image rows and labels of one shape: 1, 0 or -1."""
        flat_rows, flat_labels = rows.reshape(-1), label_ids.reshape(-1)
        covered = flat_labels < self.covered[flat_rows]
        found = np.where(covered, np.int8(ABSENT), np.int8(UNKNOWN))
        for value, lists in ((ABSENT, self.negatives), (PRESENT, self.positives)):
            found[_holds(lists, self.labels, flat_rows, flat_labels)] = value
        return found.reshape(rows.shape)

    def truth(self, rows_B: NDArray[np.int64]) -> NDArray[np.int8]:
        """int8 [B, N] of these images: 1 present, 0 absent, -1 unknown."""
        covered_BN = np.arange(self.labels) < self.covered[rows_B, None]
        truth_BN = np.where(covered_BN, np.int8(ABSENT), np.int8(UNKNOWN))
        for value, lists in ((ABSENT, self.negatives), (PRESENT, self.positives)):
            taken = lists.take(rows_B)
            truth_BN[taken.rows, taken.label_ids] = value
        return truth_BN


class ImageLookup:
    """Rows of many image ids, several times faster than :meth:`PartialLabels.find`.

    The first 8 digits of an id are a number, uniform as ids are hashes: its first bits say where
    in the sorted ids to look, the number which row it is, and the whole id whether it is that.
    Takes 8 to 12 bytes an image.
    """

    def __init__(self, known: PartialLabels) -> None:
        self._known = known
        keys_I = _first_digits(known.image_ids)
        # Ids that are no hexadecimal digits need not sort as their numbers do.
        self._sorted = bool((keys_I[1:] >= keys_I[:-1]).all())
        bits = max(len(keys_I), 2).bit_length()
        self._shift = np.uint32(32 - bits)
        firsts = np.arange(2**bits, dtype=np.uint32) << self._shift
        self._starts = np.searchsorted(keys_I, firsts).astype(np.int32)
        # The last is for ids behind all others.
        self._keys_I = np.append(keys_I, np.uint32(2**32 - 1))

    def find(self, image_ids: "pa.Array[Any]") -> NDArray[np.int64]:
        """Row of each image [B], -1 for those that are not here."""
        asked_B = _id_bytes(image_ids)
        if not self._sorted or not len(self._known) or not len(asked_B):
            return self._known.find(asked_B)
        keys_B = _first_digits(asked_B)
        rows_B = self._starts.take(keys_B >> self._shift).astype(np.int64)
        behind = np.flatnonzero(self._keys_I.take(rows_B) < keys_B)
        for _ in range(_STEPS):
            rows_B[behind] += 1
            behind = behind[self._keys_I.take(rows_B[behind]) < keys_B[behind]]
        if len(behind):
            rows_B[behind] = np.searchsorted(self._keys_I, keys_B[behind])
        found_B = self._known.image_ids.take(rows_B, mode="clip")
        differs = np.flatnonzero(found_B != asked_B)
        if len(differs):  # the number of another image, or of several
            shared = self._keys_I[rows_B[differs]] == keys_B[differs]
            rows_B[differs] = -1
            rows_B[differs[shared]] = self._known.find(asked_B[differs[shared]])
        return rows_B


def _id_bytes(image_ids: "pa.Array[Any]") -> NDArray[np.bytes_]:
    """Image ids [B] as bytes, without a copy where all have 32 digits."""
    if len(image_ids) and pa.types.is_string(image_ids.type) and not image_ids.null_count:
        _, offsets, text = image_ids.buffers()
        if offsets and text:
            ends = np.frombuffer(memoryview(offsets), np.int32)[image_ids.offset :]
            ends = ends[: len(image_ids) + 1]
            if (np.diff(ends) == np.dtype(IMAGE_ID).itemsize).all():
                return np.frombuffer(memoryview(text)[ends[0] : ends[-1]], np.dtype(IMAGE_ID))
    return np.asarray(image_ids.to_pylist(), dtype=IMAGE_ID)


def _first_digits(image_ids: NDArray[np.bytes_]) -> NDArray[np.uint32]:
    """The number in the first 8 hexadecimal digits of each id; of other ids some number."""
    words = np.ascontiguousarray(image_ids).view(">u8").reshape(-1, image_ids.itemsize // 8)
    digits = words[:, 0].astype(np.uint64)
    # Of a letter bit 6 is set, and its lower half is 9 less than the digit.
    letters = (digits >> np.uint64(6)) & np.uint64(0x0101010101010101)
    digits = (digits & np.uint64(0x0F0F0F0F0F0F0F0F)) + letters * np.uint64(9)
    for bits, mask in ((4, 0x00FF00FF00FF00FF), (8, 0x0000FFFF0000FFFF), (16, 0xFFFFFFFF)):
        digits = (digits | (digits >> np.uint64(bits))) & np.uint64(mask)
    return digits.astype(np.uint32)


def _holds(
    lists: Ragged, labels: int, rows_P: NDArray[np.int64], label_ids_P: NDArray[Any]
) -> NDArray[np.bool_]:
    """Whether each row lists the label beside it."""
    asked, back = np.unique(rows_P, return_inverse=True)
    there = lists.take(asked)
    cells = there.rows * labels + there.label_ids
    holds_P: NDArray[np.bool_] = np.isin(back * labels + label_ids_P, cells)
    return holds_P


def split_counts(store: Store) -> Counter[str]:
    """How many images each split of the store has."""
    counts: Counter[str] = Counter()
    for batch in store.scan("images", columns=["split"], batch_rows=65_536):
        counts.update(str(name) for name in batch.column(0).to_pylist())
    return counts


def hash_order(image_ids: NDArray[np.bytes_], *, seed: int) -> NDArray[np.int64]:
    """Rows [I] in an order drawn from the seed; it depends on the images, not on their order."""
    return np.lexsort((image_ids, image_keys(image_ids, seed)))
