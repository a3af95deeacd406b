"""Files of tags as frames, to be compared with what tags in memory are."""

from pathlib import Path

import pyarrow as pa

from taistore.contracts import SCORES
from taistore.labels import LabelSet
from taistore.scoring.tags.read_tags import read_tags
from taistore.scoring.tags.tag_frame import TagFrame


def read_tag_frame(path: Path, *, labels: LabelSet | None = None) -> TagFrame:
    """All tags of a finished file as a frame; ``labels`` and errors as in ``read_tags``."""
    rows = list(read_tags(path, labels=labels))
    return TagFrame.of(pa.Table.from_pylist(rows, schema=SCORES), labels=labels)
