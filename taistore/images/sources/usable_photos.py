"""Those photos of a source that the store's last ingest of them could use."""

from collections.abc import Iterator

from taistore.images.image_rows import JOB
from taistore.images.sources.source import ImageSource, SourceImage
from taistore.store.rejects import Reject
from taistore.store.store import Store


class UsablePhotos:
    """A source without the paths that were rejected when they were ingested last.

    What such a path held before is still in the store, and is no longer what lies there.
    """

    def __init__(self, source: ImageSource, store: Store) -> None:
        self._source = source
        batches = store.scan("rejects", columns=["uri"], where={"job": JOB})
        self._rejected = {str(uri) for batch in batches for uri in batch.column(0).to_pylist()}

    @property
    def name(self) -> str:
        """That of the source."""
        return self._source.name

    @property
    def ignored(self) -> int:
        """As the source counts them."""
        return self._source.ignored

    @property
    def notes(self) -> tuple[str, ...]:
        """What the source has to say."""
        return self._source.notes

    def __iter__(self) -> Iterator[SourceImage | Reject]:
        """What the source gives, in its order."""
        for item in self._source:
            if isinstance(item, Reject) or item.uri not in self._rejected:
                yield item

    def count(self) -> int | None:
        """That of the source: at least as many."""
        return self._source.count()
