"""The wide layout of tags: one row an image, a column a label, nulls where there is no tag.

Shapes: I images, N labels.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from taistore.contracts import SCORES
from taistore.labels import Label, LabelSet

Layout = Literal["long", "wide"]
"""Long: a row for each tag (``contracts.SCORES``). Wide: a row for each image, with or without."""

IMAGE_COLUMNS = ("image_id", "uri")

BLOCK_CELLS = 2**22
"""Scores held at once, 16 MB of float32."""


def headings(labels: Sequence[Label]) -> list[str]:
    """A column's name for each label: its name, with its key where that alone would mislead.

    >>> headings([Label("a", "crane"), Label("b", "crane"), Label("c", "dog")])
    ['crane (a)', 'crane (b)', 'dog']
    """
    shared = Counter(label.name for label in labels)
    taken = set(SCORES.names)
    found = []
    for label in labels:
        alone = shared[label.name] == 1 and label.name not in taken
        heading = label.name if alone else f"{label.name} ({label.key})"
        while heading in taken:
            heading += "'"
        taken.add(heading)
        found.append(heading)
    return found


def wide_schema(labels: Sequence[Label]) -> pa.Schema:
    """The columns of :func:`widen`."""
    fields = [pa.field(name, pa.string(), nullable=False) for name in IMAGE_COLUMNS]
    return pa.schema(fields + [pa.field(name, pa.float32()) for name in headings(labels)])


def is_wide(names: Sequence[str]) -> bool:
    """Whether these are the columns of the wide layout."""
    return tuple(names[:2]) == IMAGE_COLUMNS and not set(names[2:]) & set(SCORES.names)


def widen(tags: pa.Table, labels: Sequence[Label]) -> Iterator[pa.Table]:
    """Rows of ``contracts.SCORES`` as one row an image, in their order, in bounded pieces.

    The rows of an image follow one another; one of rank 0 stands for an image without tags.
    """
    schema = wide_schema(labels)
    if not tags.num_rows:
        return
    starts_I = np.flatnonzero(_starts(tags))
    ends_I = np.append(starts_I[1:], tags.num_rows)
    keys = pa.array([label.key for label in labels], pa.string())
    label_ids = pc.index_in(tags.column("label_key"), value_set=keys).to_numpy()
    step = max(1, BLOCK_CELLS // len(labels))
    for first in range(0, len(starts_I), step):
        here_I = starts_I[first : first + step]
        rows = np.arange(here_I[0], ends_I[min(first + step, len(ends_I)) - 1])
        tagged = rows[tags.column("rank").to_numpy()[rows] > 0]
        scores_IN = np.full((len(here_I), len(labels)), np.nan, np.float32)
        image = np.searchsorted(here_I, tagged, side="right") - 1
        scores_IN[image, label_ids[tagged].astype(np.int64)] = tags.column("score").to_numpy()[
            tagged
        ]
        images = tags.select(IMAGE_COLUMNS).take(here_I)
        columns = [pa.array(scores_IN[:, n], from_pandas=True) for n in range(len(labels))]
        yield pa.table([*images.columns, *columns], schema=schema)


def _starts(tags: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows are the first of an image."""
    first = tags.column("rank").to_numpy() <= 1
    first[0] = True
    for name in IMAGE_COLUMNS:
        codes = tags.column(name).combine_chunks().dictionary_encode().indices.to_numpy()
        first[1:] |= codes[1:] != codes[:-1]
    return first


def narrow(images: pa.Table, labels: LabelSet | None) -> pa.Table:
    """Rows of the wide layout as those of ``contracts.SCORES``, with rank 0 for those without tags.

    Equal scores rank in the order of the columns. Without ``labels``, or where they are not those
    of the columns, a column's name is the label's key and name.
    """
    # Whoever looks into a file of tags need not have torch loaded to find that it is none.
    import torch

    from taistore.scoring.selection import LabelColumns, choose, tag_rows

    names = images.column_names[2:]
    if labels is None or headings(labels) != names:
        labels = LabelSet(Label(name, name) for name in names)
    scores_IN = np.stack(
        [images.column(n).cast(pa.float32()).to_numpy() for n in range(2, images.num_columns)],
        axis=1,
    )
    tags = choose(torch.from_numpy(scores_IN), allowed_BN=torch.from_numpy(~np.isnan(scores_IN)))
    image_ids, uris = ([str(i) for i in images.column(n).to_pylist()] for n in IMAGE_COLUMNS)
    return tag_rows(
        image_ids, uris, tags, scores_IN[tags.row, tags.label_id], labels=LabelColumns(labels)
    )
