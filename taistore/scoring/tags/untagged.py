"""Photos without a tag: a long file of tags has no row of them, the page shows them."""

from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa


class UntaggedImage(NamedTuple):
    """A photo that got no tag; ``place`` counts all photos of the job, from 0."""

    place: int
    image_id: str
    uri: str


@dataclass(frozen=True, slots=True)
class Untagged:
    """How many photos of a job got no tag, and the first of them."""

    count: int = 0
    first: tuple[UntaggedImage, ...] = ()


class UntaggedRows:
    """Gathers them from rows with rank 0, which stand for them while a job works."""

    KEPT = 10_000
    """Photos at most: memory must not grow with the number of images."""

    def __init__(self) -> None:
        self._images = self._count = 0
        self._first: list[UntaggedImage] = []

    def add(self, rows: pa.Table) -> None:
        """Rows of ``contracts.SCORES``; an image has one of rank 1, or of 0."""
        ranks = rows.column("rank").to_numpy()
        starts = (ranks <= 1).nonzero()[0]
        empty = (ranks[starts] == 0).nonzero()[0]
        kept = empty[: self.KEPT - len(self._first)]
        some = rows.select(["image_id", "uri"]).take(starts[kept]).to_pylist()
        self._first += [
            UntaggedImage(self._images + int(place), row["image_id"], row["uri"])
            for place, row in zip(kept, some, strict=True)
        ]
        self._images += len(starts)
        self._count += len(empty)

    def found(self) -> Untagged:
        """All that were added."""
        return Untagged(self._count, tuple(self._first))
