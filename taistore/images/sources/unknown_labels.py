"""Labels that a row names and the label set lacks: what is set aside of a photo that is kept."""

import difflib
import shlex
from collections import Counter

from taistore.images.sources.source import SourceImage
from taistore.labels import LabelSet
from taistore.printable import printable
from taistore.store.rejects import Reject

MOST_NAMES = 10_000
"""Different names that are counted; of later ones only their rejects tell."""

_CLOSE_NAMES = 3


class UnknownLabels:
    """Makes rejects of such names, and counts the rows of each in ``counts``."""

    def __init__(self, labels: LabelSet, *, store_uri: str) -> None:
        self.counts: Counter[str] = Counter()
        self._names = [label.name for label in labels]
        self._store_uri = store_uri
        self._hints: dict[str, str] = {}

    def reject(self, image: SourceImage) -> Reject:
        """The reject of an image's row, which has at least one such name."""
        for name in image.unknown_labels:
            if name in self.counts or len(self.counts) < MOST_NAMES:
                self.counts[name] += 1
        first, *more = image.unknown_labels
        also = f"; likewise {', '.join(repr(name)[:100] for name in more)}" if more else ""
        detail = (
            f"label {first!r:.100} is not in the label set{self._hint(first)}: "
            f"{adding(first, self._store_uri)} adds it{also} (the photo is kept)"
        )
        return Reject(uri=image.row or image.uri, reason="unknown_label", detail=printable(detail))

    def _hint(self, name: str) -> str:
        if name not in self._hints:
            close = difflib.get_close_matches(name, self._names, n=_CLOSE_NAMES)
            told = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
            if len(self._hints) >= MOST_NAMES:
                self._hints.clear()
            self._hints[name] = told
        return self._hints[name]


def adding(name: str, store_uri: str) -> str:
    """The command that adds a label, in quotes.

    >>> print(adding("giraffe", "shop"))
    'taistore labels add giraffe --store shop'
    """
    return f"'taistore labels add {shlex.quote(name)} --store {shlex.quote(store_uri)}'"
