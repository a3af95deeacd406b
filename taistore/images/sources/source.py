"""What a source of images yields, and the protocol that every source keeps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from taistore.store.rejects import Reject


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """What is known about an image, as ascending label ids: places in the label set, from 0.

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
    """One image of a source; ``uri`` is its absolute path, and all that a source must give.

    ``annotation`` is None where the source says nothing about the labels, ``split`` where it names
    none. ``image_id`` is empty until the file's bytes were read: a source leaves it so.
    ``unknown_labels`` are names that its row gives and the label set lacks: they are set aside
    under the name of the ``row``.
    """

    uri: str
    annotation: Annotation | None = None
    split: str | None = None
    image_id: str = ""
    unknown_labels: tuple[str, ...] = ()
    row: str = field(default="", compare=False)


class ImageSource(Protocol):
    """A stream of images, in the same order every time; what is wrong with an item is an item.

    Yield a :class:`SourceImage` for each photo; files need not be opened, whoever reads them finds
    out what is wrong with them. Yield a :class:`~taistore.store.rejects.Reject` for a row that
    cannot be used, and go on. Raise :class:`~taistore.errors.ImageError` or
    :class:`~taistore.errors.ManifestError`, one line with the place and the remedy, where the
    source as a whole is unusable: what was yielded before is kept, and the next run begins with
    the first item again. Anything else that is raised is reported as a mistake of the plugin.

    Every attribute must be there; a source with nothing to say has ``ignored = 0``, ``notes = ()``
    and a ``count`` that returns None. It may be iterated more than once, and from another thread
    than it was made in, but never from two at a time.
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
