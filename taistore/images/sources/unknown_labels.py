"""Labels that a row names and the label set lacks: what is set aside of a photo that is kept."""

import shlex
from collections import Counter

from taistore.errors import UnknownLabelError
from taistore.images.sources.source import SourceImage
from taistore.labels import LabelSet
from taistore.printable import printable
from taistore.store.rejects import Reject

MOST_NAMES = 10_000
"""Different names that are counted; of later ones only their rejects tell."""


class UnknownLabels:
    """Makes rejects of such names, and counts the rows of each in ``counts``."""

    def __init__(self, labels: LabelSet, *, store_uri: str) -> None:
        self.counts: Counter[str] = Counter()
        self._labels = labels
        self._at = f" --store {shlex.quote(store_uri)}"

    def reject(self, image: SourceImage) -> Reject:
        """The reject of an image's row, which has at least one such name."""
        for name in image.unknown_labels:
            if name in self.counts or len(self.counts) < MOST_NAMES:
                self.counts[name] += 1
        first, *more = image.unknown_labels
        told = self._missing(first)
        if more:
            told += f"; likewise {', '.join(f'{name!r:.60}' for name in more)}"
        detail = printable(f"{told} (the photo is kept)")
        return Reject(uri=image.row or image.uri, reason="unknown_label", detail=detail)

    def _missing(self, name: str) -> str:
        try:
            self._labels.find(name)
        except UnknownLabelError as error:
            # It ends with the command that adds the label, which is to work from any folder.
            return f"{error}{self._at}"
        return f"label {name!r:.60} was not in the label set: ingest it again"
