"""A page of what changes between two runs: one file, no script, nothing loaded from elsewhere."""

import base64
import hashlib
import os
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from taistore.exporting.differences.tag_differences import CHANGES, TagDifferences
from taistore.exporting.formats.output_files import (
    write_file,
    writing_beside,
)
from taistore.progress import Progress, no_progress
from taistore.scoring.page.html import visible
from taistore.scoring.page.thumbnail import thumbnail

THUMBNAIL_PIXELS = 240
_SIGNS = {"appears": "+", "goes": "−", "moves": "↕"}


def write_difference_page(
    found: TagDifferences,
    path: Path,
    *,
    max_images: int,
    progress: Progress = no_progress,
) -> int:
    """Write the labels and the ``max_images`` images that change most; returns how many it shows.

    Everything from outside is escaped. A photo that is gone is named without a picture.
    """
    changed = found.changed_images
    shown = changed.head(max_images)
    with progress("page", total=shown.height, unit="image") as bar:
        images = []
        for image in _images(found, shown):
            images.append(image)
            bar.advance()
    folder = resources.files("taistore.exporting.differences") / "templates"
    style = (folder / "differences.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "differences.html").read_text(encoding="utf-8"))
    text = template.render(
        before=visible(found.before),
        after=visible(found.after),
        found=found,
        counts=found.counts,
        changes=CHANGES,
        labels=_labels(found),
        images=images,
        left_out=changed.height - shown.height,
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
    )
    with writing_beside(path):
        write_file(path, lambda part: part.write_text(text, encoding="utf-8"))
    return shown.height


def _labels(found: TagDifferences) -> list[dict[str, Any]]:
    return [
        {**row, "label_name": visible(row["label_name"])}
        for row in found.labels.iter_rows(named=True)
        if row["appears"] + row["goes"] + row["moves"]
    ]


def _images(found: TagDifferences, shown: pl.DataFrame) -> Iterator[dict[str, Any]]:
    rows = found.rows.filter(pl.col("change") != "stays").join(
        shown.select("image_id"), on="image_id", how="semi"
    )
    tags = rows.partition_by("image_id", as_dict=True)
    folder = _common_folder(shown["uri"].to_list())
    for image_id, uri, _ in shown.iter_rows():
        small = thumbnail(uri, pixels=THUMBNAIL_PIXELS)
        yield {
            "name": visible(uri.removeprefix(folder)),
            "thumbnail": small,
            "tags": [
                {
                    "sign": _SIGNS[tag["change"]],
                    "change": tag["change"],
                    "name": visible(tag["label_name"]),
                    "before": _score(tag["score_before"]),
                    "after": _score(tag["score_after"]),
                }
                for tag in tags[(image_id,)].iter_rows(named=True)
            ],
        }


def _common_folder(uris: Sequence[str]) -> str:
    """What all paths begin with: a page need not tell where it was made."""
    if len(uris) < 2:
        return ""
    shared = os.path.commonprefix(uris)  # noqa: RUF071 - characters, as it is cut at a slash
    return shared[: shared.rfind("/") + 1]


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.2f}"
