"""Which tags appear, go and move from one source of tags to another.

Images are the same where their content is, whatever their paths. An image that only one source has
is counted and not compared, as nothing is known of its tags in the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from taistore.errors import ExportError
from taistore.exporting.tagged_photos import TaggedPhotos
from taistore.progress import Progress, no_progress

MIN_CHANGE = 0.05
SHOWN = 20
CHANGES = ("appears", "goes", "moves", "stays")
_KEY = ("image_id", "label_key")


@dataclass(frozen=True, kw_only=True, slots=True)
class TagDifferences:
    """The tags of the images that both sources have.

    ``rows`` has a row for each tag of either: image_id, uri, label_key, label_name, ``change`` (one
    of :data:`CHANGES`), score_before, score_after, rank_before and rank_after, null where it is no
    tag. ``labels`` has a row a label with the number of each change and ``mean_change``, that of
    the scores of tags in both; most changed first.
    """

    before: str
    after: str
    min_change: float
    images: int
    only_before: int
    only_after: int
    rows: pl.DataFrame
    labels: pl.DataFrame

    @property
    def counts(self) -> Mapping[str, int]:
        """How many tags there are of each change."""
        return {change: int(self.labels[change].sum()) for change in CHANGES}

    @property
    def changed_images(self) -> pl.DataFrame:
        """The images with a tag that does not stay and how many, most first."""
        changed = self.rows.filter(pl.col("change") != "stays")
        return (
            changed.group_by("image_id", maintain_order=True)
            .agg(pl.col("uri").first(), changes=pl.len())
            .sort("changes", descending=True, maintain_order=True)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values: counts, every label, and the images that change most."""
        changed = self.changed_images
        return {
            "before": self.before,
            "after": self.after,
            "min_change": self.min_change,
            "images": self.images,
            "images_changed": changed.height,
            "only_before": self.only_before,
            "only_after": self.only_after,
            **self.counts,
            "labels": self.labels.to_dicts(),
            "most_changed": changed.head(SHOWN).to_dicts(),
        }

    def write(self, path: str | Path) -> None:
        """Write ``rows``, less what stays, to a .csv, .jsonl or .parquet file."""
        from taistore.exporting.differences.difference_file import write_differences

        write_differences(self, Path(path))

    def page(self, path: str | Path, *, max_images: int, progress: Progress = no_progress) -> int:
        """Write a page of the labels and images that change most; returns how many images."""
        from taistore.exporting.differences.difference_page import write_difference_page

        return write_difference_page(self, Path(path), max_images=max_images, progress=progress)

    def table(self) -> str:
        """The summary for people: counts, and the labels that change most."""
        counts, changed = self.counts, self.changed_images.height
        lines = [
            f"{self.before} -> {self.after}",
            f"images: {self.images:,} in both, {changed:,} of them change; only in the first: "
            f"{self.only_before:,}, only in the second: {self.only_after:,}",
            "tags: "
            + ", ".join(f"{counts[change]:,} {_WORDS[change]}" for change in CHANGES)
            + f" (moved: by {self.min_change:g} in score, or in rank)",
        ]
        rows = self.labels.filter(pl.col("stays") < pl.sum_horizontal(CHANGES)).head(SHOWN)
        if rows.height:
            lines.append(f"{'appear':>8}{'go':>8}{'move':>8}{'stay':>8}{'mean':>8}  label")
        for row in rows.iter_rows(named=True):
            mean = "" if row["mean_change"] is None else f"{row['mean_change']:+.2f}"
            numbers = "".join(f"{row[change]:>8,}" for change in CHANGES)
            lines.append(f"{numbers}{mean:>8}  {row['label_name']}")
        if (more := self.labels.height - SHOWN) > 0 and rows.height == SHOWN:
            lines.append(f"the {SHOWN} labels that change most, of {more + SHOWN:,}")
        return "\n".join(lines)


_WORDS = {"appears": "appear", "goes": "go", "moves": "move", "stays": "stay"}


def tag_differences(
    before: TaggedPhotos, after: TaggedPhotos, *, min_change: float = MIN_CHANGE
) -> TagDifferences:
    """What changes from ``before`` to ``after``.

    A tag moves where its score changes by ``min_change`` or more, or its place among the tags that
    the image has in both. Raises :class:`ExportError` where they share no image.
    """
    if not 0 < min_change <= 1:
        raise ExportError(f"min_change={min_change:g}: it is above 0 and at most 1")
    old, new = _frame(before), _frame(after)
    images = old.select("image_id").unique()
    others = new.select("image_id").unique()
    both = images.join(others, on="image_id")
    if both.is_empty():
        raise ExportError(
            f"{before.run} and {after.run} have no image in common: tag the same photos with both"
        )
    rows = _joined(old.join(both, on="image_id"), new.join(both, on="image_id"), min_change)
    return TagDifferences(
        before=before.run,
        after=after.run,
        min_change=min_change,
        images=both.height,
        only_before=images.height - both.height,
        only_after=others.height - both.height,
        rows=rows,
        labels=_by_label(rows),
    )


def _frame(photos: TaggedPhotos) -> pl.DataFrame:
    """Rows of tags and of images without any; a photo under several paths counts once."""
    frame = pl.from_arrow(photos.rows)
    assert isinstance(frame, pl.DataFrame)
    return frame.unique(_KEY, keep="first", maintain_order=True)


def _joined(old: pl.DataFrame, new: pl.DataFrame, min_change: float) -> pl.DataFrame:
    tags = [frame.filter(pl.col("rank") > 0) for frame in (old, new)]
    rows = tags[0].join(tags[1], on=_KEY, how="full", coalesce=True, suffix="_after")
    in_both = pl.col("rank").is_not_null() & pl.col("rank_after").is_not_null()
    places = [
        pl.when(in_both).then(pl.col(name)).rank("ordinal").over("image_id")
        for name in ("rank", "rank_after")
    ]
    # Scores are float32: 0.5 - 0.45 must count as 0.05.
    moved = ((pl.col("score_after") - pl.col("score")).abs() >= min_change - 1e-6) | (
        places[0] != places[1]
    )
    change = (
        pl.when(pl.col("rank").is_null())
        .then(pl.lit("appears"))
        .when(pl.col("rank_after").is_null())
        .then(pl.lit("goes"))
        .when(moved)
        .then(pl.lit("moves"))
        .otherwise(pl.lit("stays"))
    )
    uris = pl.concat([old, new]).unique("image_id", keep="first").select("image_id", "uri")
    return (
        rows.with_columns(change=change, label_name=_either("label_name"))
        .select(
            *_KEY,
            "label_name",
            "change",
            pl.col("score").alias("score_before"),
            "score_after",
            pl.col("rank").alias("rank_before"),
            "rank_after",
        )
        .join(uris, on="image_id", how="left")
        .select("image_id", "uri", pl.exclude("image_id", "uri"))
        .sort("uri", "image_id", "rank_after", "rank_before", nulls_last=True)
    )


def _either(name: str) -> pl.Expr:
    return pl.coalesce(name, f"{name}_after")


def _by_label(rows: pl.DataFrame) -> pl.DataFrame:
    counted = rows.group_by("label_key").agg(
        pl.col("label_name").first(),
        *((pl.col("change") == change).sum().alias(change) for change in CHANGES),
        mean_change=(pl.col("score_after") - pl.col("score_before")).mean(),
    )
    changed = pl.col("appears") + pl.col("goes") + pl.col("moves")
    return counted.sort(changed, "label_key", descending=[True, False])
