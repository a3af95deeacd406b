"""What a source of images yields, and the protocol that every source keeps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from taistore.store.rejects import Reject


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """What is known about an image, as sorted label ids.

    ``complete``: every label that is not positive is absent, so ``negatives`` stays empty.
    Otherwise nothing is said of a label in no list: what was known of it stays. ``unknown`` are
    labels of which nobody is to know anything any more.
    """

    positives: tuple[int, ...] = ()
    negatives: tuple[int, ...] = ()
    complete: bool = False
    unknown: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceImage:
    """One image of a source; ``uri`` is its absolute path.

    ``annotation`` is None where the source says nothing about the labels, ``split`` where it names
    none. ``image_id`` is empty until the file's bytes were read.
    """

    uri: str
    annotation: Annotation | None = None
    split: str | None = None
    image_id: str = ""


class ImageSource(Protocol):
    """A stream of images, in the same order every time; what is wrong with an item is an item.

    Iterating may raise ImageError or ManifestError where the source as a whole is unusable.
    """

    @property
    def name(self) -> str:
        """What messages call it: the path of its folder or file."""
        ...

    @property
    def ignored(self) -> int:
        """Files passed over without a reject by the latest iteration so far."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell the user of the source as a whole, one line each, once it is read."""
        ...

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        """The images and rejects."""
        ...

    def count(self) -> int | None:
        """How many items there will be, for showing progress; None where that is costly."""
        ...
