"""An image writer of another package: what it raises while it draws names the plugin."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from taistore import plugins
from taistore.store.rejects import Reject
from taistore.synthetic.image_writer import ImageRequest, ImageWriter, StoredText, WrittenImage

GROUP = "taistore.image_writers"
"""Entry points of this group are writers; :mod:`taistore.synthetic.image_writer` says what they
are."""


class PluginImageWriter:
    """The writer of the plugin ``plugin``, in all else that writer itself."""

    def __init__(self, plugin: str, writer: ImageWriter) -> None:
        self._plugin, self._writer = plugin, writer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    def wanted(self, texts: int) -> int:
        """As the plugin's; raises :class:`PluginError` where that fails."""
        with plugins.blame(GROUP, self._plugin, "failed in wanted"):
            return self._writer.wanted(texts)

    def requests(self, texts: Iterable[StoredText]) -> Iterator[ImageRequest | Reject]:
        """As the plugin's; raises :class:`PluginError` where that fails or gives something else."""
        yield from self._items(
            "requests", lambda: self._writer.requests(texts), (ImageRequest, Reject)
        )

    def write(self, requests: Sequence[ImageRequest]) -> Iterator[WrittenImage]:
        """As the plugin's; raises :class:`PluginError` where that fails or gives something else."""
        yield from self._items("write", lambda: self._writer.write(requests), (WrittenImage,))

    def _items(
        self, method: str, called: Callable[[], Iterable[Any]], kinds: tuple[type, ...]
    ) -> Iterator[Any]:
        with plugins.blame(GROUP, self._plugin, f"failed in {method}"):
            items = iter(called())
        for number in itertools.count(1):
            # Only the plugin's own code is blamed, not what is done with an item.
            with plugins.blame(GROUP, self._plugin, f"failed in {method}, item {number}"):
                item = next(items, None)
            if item is None:
                return
            if not isinstance(item, kinds):
                raise plugins.wrong(
                    GROUP,
                    self._plugin,
                    f"gave a {type(item).__name__} in {method} instead of "
                    + " or ".join(f"{kind.__name__}" for kind in kinds),
                )
            yield item
