"""Tags as JSON lines into a stream, such as a pipe, as they come: nothing is kept to resume by."""

from typing import IO

import pyarrow as pa
import pyarrow.compute as pc

from taistore.contracts import SCORES
from taistore.images.sources.given_paths import GivenPaths
from taistore.labels import LabelSet
from taistore.scoring.string_set import Seen
from taistore.scoring.tags.tag_file import json_lines
from taistore.scoring.tags.tag_parts import shown_paths
from taistore.scoring.tags.untagged import Untagged, UntaggedRows
from taistore.scoring.tags.wide import wide_schema, widen


class TagStream:
    """What :class:`~taistore.scoring.tags.tag_parts.TagFile` is to a file, to an open text stream.

    ``wide`` are the labels of the wide layout; paths are written as ``shown``. The stream is not
    closed.
    """

    def __init__(
        self, stream: IO[str], *, wide: LabelSet | None = None, shown: GivenPaths | None = None
    ) -> None:
        self._shown = shown
        self.done = Seen()
        self.resumed = 0
        self._wide = wide
        self._stream = stream
        self._written = 0
        self._untagged = UntaggedRows()
        self._lines = json_lines(stream, SCORES if wide is None else wide_schema(wide))

    def add(self, tags: pa.Table, *, images: int) -> None:
        """Write the tags of ``images`` more images."""
        del images
        tags = shown_paths(tags.cast(SCORES), self._shown)
        self._untagged.add(tags)
        rows = tags.filter(pc.field("rank") > 0)
        self._written += rows.num_rows
        for piece in [rows] if self._wide is None else widen(tags, self._wide):
            self._lines.write(piece)
        self._stream.flush()

    def flush(self) -> None:
        """All is written already."""

    def finish(self) -> tuple[int, Untagged]:
        """How many tags were written, and which images have none."""
        return self._written, self._untagged.found()

    def close(self) -> None:
        """The stream is left open: it is somebody else's."""
