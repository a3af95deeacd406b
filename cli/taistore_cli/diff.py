"""``taistore diff``: which tags change from one run to another."""

from pathlib import Path
from typing import Any

import click

import taistore
from taistore import defaults
from taistore_cli.options import (
    common_options,
    device_option,
    store_option,
    threshold_option,
    top_k_option,
)
from taistore_cli.output import Output


@click.command()
@click.argument("before", metavar="RUN|TAGS")
@click.argument("after", metavar="RUN|TAGS")
@threshold_option
@top_k_option
@click.option(
    "--min-change",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    metavar="X",
    help="A tag moves where its score changes by so much, or its rank among those in both.",
)
@click.option(
    "--out",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="All tags that change: .csv, .jsonl or .parquet.",
)
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="A page to look at.")
@click.option(
    "--page-images",
    type=click.IntRange(min=1),
    default=defaults.PAGE_IMAGES,
    help="Images on the page, those that change most; it says how many it leaves out.",
)
@click.option("--overwrite", is_flag=True, help="Replace FILE where it is there.")
@store_option
@device_option
@common_options
def command(
    *,
    before: str,
    after: str,
    threshold: float | None,
    top_k: int | None,
    min_change: float,
    file: Path | None,
    html: Path | None,
    page_images: int,
    overwrite: bool,
    store_uri: str,
    device: str,
    out: Output,
) -> dict[str, Any]:
    """Show which tags appear, go and move from one run, or file of tags, to another.

    Images are matched by their content. One that only one of the two has is counted, not compared.
    A file of tags does not name images without tags, unless its layout is wide. Whether a run is
    better is another question: see taistore compare.

    \b
    Example:
      taistore diff zsl-20260101-120000-abc123 latest --html changes.html
      taistore diff before.parquet after.parquet --out changes.csv
    """
    from taistore.exporting.differences.difference_places import require_places

    require_places(file, html, overwrite=overwrite)
    found = taistore.diff(
        before,
        after,
        path=store_uri,
        top_k=top_k,
        threshold=threshold,
        min_change=min_change,
        device=device,
        progress=out.progress,
        note=out.note,
    )
    lines = [found.table()]
    if file is not None:
        found.write(file)
        lines.append(f"changed tags: {file}")
    if html is not None:
        found.page(html, max_images=page_images, progress=out.progress)
        lines.append(f"page: {html}")
    told = {
        **found.to_json(),
        "out": None if file is None else str(file),
        "html": None if html is None else str(html),
    }
    return out.result(told, "\n".join(lines))
