"""Tags as a polars frame."""

from collections.abc import Sequence
from typing import Self

import polars as pl
import pyarrow as pa

from taistore.contracts import SCORES
from taistore.labels import Label
from taistore.scoring.tags.wide import IMAGE_COLUMNS, wide_schema, widen


class TagFrame(pl.DataFrame):
    """One row a tag, with the columns of ``contracts.SCORES``; by image, then by rank.

    It is a frame of polars in all else: most of its methods give a plain ``polars.DataFrame``.
    """

    _labels: Sequence[Label] | None = None
    _images: pl.DataFrame | None = None

    @classmethod
    def of(cls, tags: pa.Table, *, labels: Sequence[Label] | None = None) -> Self:
        """From rows of ``contracts.SCORES``, of which one of rank 0 is an image without tags.

        ``labels`` are those that :meth:`wide` has columns for; None: those that occur.
        """
        rows = _frame(tags.select(SCORES.names))
        frame = cls(rows.filter(pl.col("rank") > 0))
        frame._labels = labels
        if frame.height < rows.height:
            frame._images = rows.filter(pl.col("rank") <= 1).select(IMAGE_COLUMNS)
        return frame

    def with_untagged(self) -> pa.Table:
        """Rows of ``contracts.SCORES``, with one of rank 0 for each image without tags."""
        rows = self.to_arrow().select(SCORES.names).cast(SCORES)
        if self._images is None:
            return rows
        images = self._images.join(self, on=IMAGE_COLUMNS, how="anti").to_arrow()
        return pa.concat_tables([rows, untagged(images)])

    def wide(self) -> pl.DataFrame:
        """One row an image, also of one without tags, and a column a label with its scores.

        Null where the image has no such tag. A column is called by its label's name, with the key
        where several labels have one name.
        """
        labels = self._labels
        if labels is None:
            pairs = self.select("label_key", "label_name").unique("label_key", maintain_order=True)
            labels = [Label(key, name) for key, name in pairs.iter_rows()]
        tags = self.to_arrow().select(SCORES.names).cast(SCORES)
        pieces = [wide_schema(labels).empty_table(), *widen(tags, labels)]
        wide = _frame(pa.concat_tables(pieces))
        if self._images is None:
            return wide
        return self._images.join(wide, on=IMAGE_COLUMNS, how="left", maintain_order="left")


def untagged(images: pa.Table) -> pa.Table:
    """Rows of rank 0 for images, a table with ``image_id`` and ``uri``."""
    count = images.num_rows
    columns = {
        **{name: images.column(name) for name in IMAGE_COLUMNS},
        "rank": pa.array([0] * count, pa.int32()),
        "label_key": [""] * count,
        "label_name": [""] * count,
        "score": pa.array([0.0] * count, pa.float32()),
    }
    return pa.table(columns).select(SCORES.names).cast(SCORES)


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
