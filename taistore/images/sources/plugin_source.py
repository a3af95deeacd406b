"""A source of images of another package: what it raises and yields is looked at on the way."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from taistore import plugins
from taistore.images.sources.source import ImageSource, SourceImage
from taistore.labels import LabelSet
from taistore.store.rejects import Reject

GROUP = "taistore.sources"
"""Entry points of this group are sources; :mod:`taistore.images.sources.source` says what they
are."""


def open_plugin_source(name: str, path: Path, labels: LabelSet) -> ImageSource:
    """The source that a plugin makes of ``path``.

    Raises :class:`PluginError` naming the plugin where that fails, where it is no
    :class:`ImageSource`, and later, where iterating it fails or yields something else.
    """
    source: ImageSource = plugins.make(GROUP, name, path, labels)
    plugins.require(GROUP, name, source, ImageSource)
    return _PluginSource(name, source, labels=len(labels))


class _PluginSource:
    def __init__(self, plugin: str, source: ImageSource, *, labels: int) -> None:
        self._plugin, self._source, self._labels = plugin, source, labels
        with plugins.blame(GROUP, plugin, "has no name"):
            self.name = str(source.name)

    @property
    def ignored(self) -> int:
        with plugins.blame(GROUP, self._plugin, "cannot say what it ignored"):
            return int(self._source.ignored)

    @property
    def notes(self) -> tuple[str, ...]:
        with plugins.blame(GROUP, self._plugin, "cannot give its notes"):
            return tuple(self._source.notes)

    def count(self) -> int | None:
        with plugins.blame(GROUP, self._plugin, "cannot count its images"):
            return self._source.count()

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        with plugins.blame(GROUP, self._plugin, f"failed at the start of {self.name}"):
            items = iter(self._source)
        for number in itertools.count(1):
            # Only the plugin's own code is blamed, not what is done with an item.
            with plugins.blame(GROUP, self._plugin, f"failed at item {number} of {self.name}"):
                item = next(items, None)
            if item is None:
                return
            if problem := self._problem(item):
                raise plugins.wrong(
                    GROUP, self._plugin, f"gave as item {number} of {self.name} {problem}"
                )
            yield item

    def _problem(self, item: object) -> str:
        """What is wrong with an item, or ""."""
        if isinstance(item, Reject):
            return ""
        if not isinstance(item, SourceImage):
            return f"a {type(item).__name__}, which is neither a SourceImage nor a Reject"
        known = item.annotation
        if known is None or (self._fits(known.positives) and self._fits(known.negatives)):
            return ""
        return f"label ids that do not ascend from 0 to {self._labels - 1}"

    def _fits(self, label_ids: tuple[int, ...]) -> bool:
        """Whether label ids are of the set, ascend and do not repeat."""
        ends = (-1, *label_ids, self._labels)
        return all(low < high for low, high in itertools.pairwise(ends))
