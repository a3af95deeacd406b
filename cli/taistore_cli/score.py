"""``taistore score``: tags for a folder, a manifest or the store's own images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from taistore import defaults
from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import (
    batch_size_option,
    common_options,
    device_option,
    known_option,
    layout_option,
    max_rejects_option,
    store_option,
    threshold_option,
    top_k_option,
    workers_option,
)
from taistore_cli.output import Output
from taistore_cli.precisions import Precisions, precisions_option

if TYPE_CHECKING:
    from taistore.scoring.score import ScoreSummary

STEPS = (
    *("zero_shot", "standardised", "regions"),
    *("prompts_global", "prompts_local", "prompts", "discriminant"),
    *("adapter_logits", "adapter_global", "adapter", "ensemble"),
)
"""Those of ``taistore.scoring.ladders.ladder``, whose import would load torch only to show help."""


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("photos", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out",
    "tags",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Tags: .parquet, .jsonl or .csv. -: JSON lines on stdout as they come, nothing else "
    "there; scored anew when run again.",
)
@layout_option
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="A page to look at.")
@click.option(
    "--page-images",
    type=click.IntRange(min=1),
    default=defaults.PAGE_IMAGES,
    help="Images on the page; it says how many it leaves out.",
)
@top_k_option
@threshold_option
@click.option(
    "--step",
    type=click.Choice(STEPS),
    help="Step of the ladder that ranks.  [default: the calibrated one, else the one that evaluate "
    "found best on split val, else the top]",
)
@click.option(
    "--regions",
    type=click.IntRange(min=0, max=32),
    default=defaults.REGIONS,
    metavar="G",
    help="Score a G x G grid of regions as well; 0: none.",
)
@known_option
@click.option("--overwrite", is_flag=True, help="Replace a finished FILE.")
@batch_size_option(32)
@workers_option
@store_option
@device_option
@precisions_option
@max_rejects_option
@common_options
def command(
    *,
    run_id: str,
    photos: Path | None,
    tags: Path,
    layout: Literal["long", "wide"],
    html: Path | None,
    page_images: int,
    top_k: int | None,
    threshold: float | None,
    step: Any,
    regions: int,
    known: Literal["override", "ignore"],
    overwrite: bool,
    batch_size: int,
    workers: int,
    store_uri: str,
    device: str,
    precisions: Precisions,
    max_rejects: int | None,
    out: Output,
) -> dict[str, Any]:
    """Tag PHOTOS (a folder or manifest; default: the store's images) with RUN (an id, or latest).

    A job that was stopped goes on where it was when run again. Photos that the store has vectors of
    are not encoded again, and its own images are scored with their regions where they have some.
    Images that cannot be read are set aside with a reason (taistore show --rejects). With --html
    and a finished FILE, only the page is written, of the photos that FILE has rows of: in the long
    layout those with a tag.

    \b
    Example:
      taistore score latest photos/ --out tags.parquet --html tags.html
      taistore score latest photos/ --precision 0.9 --out tags.jsonl
      taistore score latest photos/ --out - --threshold 0.3 | jq -r .uri
    """
    file = out.stream_or(tags, html)
    project = open_project(store_uri, out, device=device, precision=precisions.number_format)
    if html is not None and file is tags and tags.is_file() and not overwrite:
        page = project.page(tags, html, page_images=page_images, least_score=threshold)
        shown = page.images + page.left_out
        return out.result(
            {"out": str(tags), "images": shown, "html": str(html), "page_only": True},
            f"{tags} is there already: wrote the page only (--overwrite scores again)\n"
            f"page: {html}",
        )
    summary = project.run(run_id).score(
        photos,
        out=file,
        html=html,
        layout=layout,
        top_k=top_k,
        threshold=threshold,
        precision=precisions.promised,
        step=step,
        regions=regions,
        known=known,
        page_images=page_images,
        batch_size=batch_size,
        workers=workers,
        max_rejects=max_rejects,
        overwrite=overwrite,
    )
    text = (
        f"{summary.out}: {counted(summary.tags, 'tag')} for {counted(summary.images, 'image')} by "
        f"{summary.step}{_with_regions(summary)}; {summary.rejected:,} rejected"
    )
    if summary.without_tags:
        text += f"; {counted(summary.without_tags, 'image')} without tags"
    text += f"\ncut: {summary.cut}{_without_cut(summary)}"
    text += f"\nranked by {summary.step}: {summary.step_why}"
    if not summary.rejects_kept:
        text += f"\nthe list of rejects was not kept: {store_uri} cannot be written"
    if html is not None:
        text += f"\npage: {html}"
    found = {**summary.to_json(), "html": str(html) if html else None, "page_only": False}
    return out.result(found, text) if file is tags else out.beside_stream(found, text)


def _without_cut(summary: "ScoreSummary") -> str:
    if not summary.labels_without_cut:
        return ""
    return f"; {summary.labels_without_cut:,} labels have no such threshold and give no tags"


def _with_regions(summary: "ScoreSummary") -> str:
    now = summary.images - summary.resumed
    if not summary.regions_used or summary.with_regions == now:
        return ", with regions" if summary.regions_used else ""
    return f", {summary.with_regions:,} of {now:,} with regions"
