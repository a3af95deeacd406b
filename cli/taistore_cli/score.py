"""``taistore score``: tags for a folder, a manifest or the store's own images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taistore_cli.opening import open_encoder, open_store
from taistore_cli.options import (
    batch_size_option,
    common_options,
    device_option,
    max_rejects_option,
    precision_option,
    store_option,
    workers_option,
)
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.scoring.page.write_page import PageSummary
    from taistore.store.store import Store

STEPS = ("zero_shot", "standardised", "regions", "adapter_global", "adapter", "ensemble")
"""Those of ``taistore.scoring.ladder``, whose import would load torch only to show help."""

TOP_K = 5
"""Tags per image where neither --top-k nor --threshold is given."""


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("photos", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out",
    "tags",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Tags: .parquet, .jsonl or .csv, one row a tag.",
)
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="A page to look at.")
@click.option(
    "--page-images",
    type=click.IntRange(min=1),
    default=500,
    show_default=True,
    help="Images on the page; it says how many it leaves out.",
)
@click.option(
    "--top-k",
    type=click.IntRange(min=1),
    help=f"Tags per image at most; default: {TOP_K}, or no bound with --threshold alone.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Drop tags with a lower score (0 to 1).",
)
@click.option(
    "--step", type=click.Choice(STEPS), help="Step of the ladder that ranks; default: its top."
)
@click.option(
    "--regions",
    type=click.IntRange(min=0, max=32),
    default=7,
    show_default=True,
    metavar="G",
    help="Score a G x G grid of regions as well; 0: none.",
)
@click.option("--overwrite", is_flag=True, help="Replace a finished FILE.")
@batch_size_option(32)
@workers_option
@store_option
@device_option
@precision_option
@max_rejects_option
@common_options
def command(
    *,
    run_id: str,
    photos: Path | None,
    tags: Path,
    html: Path | None,
    page_images: int,
    top_k: int | None,
    threshold: float | None,
    step: Any,
    regions: int,
    overwrite: bool,
    batch_size: int,
    workers: int,
    store_uri: str,
    device: str,
    precision: str,
    max_rejects: int | None,
    out: Output,
) -> dict[str, Any]:
    """Tag PHOTOS (a folder or manifest; default: the store's images) with RUN (an id, or latest).

    A job that was stopped goes on where it was when run again. Images that cannot be read are set
    aside with a reason (taistore show --rejects). With --html and a finished FILE, only the page
    is written.

    \b
    Example:
      taistore score latest photos/ --out tags.parquet --html tags.html
    """
    from taistore.encoders.precision import resolve_device
    from taistore.images.sources.open_source import open_source
    from taistore.scoring.page.write_page import require_page
    from taistore.scoring.score import score

    store = open_store(store_uri)
    if html is not None:
        require_page(html, tags)
        if tags.is_file() and not overwrite:
            return _page_only(store, tags, html, page_images=page_images, out=out)
    run = store.run(run_id)
    info = store.encoder(run["encoder_id"])
    source = encoder = None
    if photos is not None:
        source = open_source(photos, store.labels)
        encoder = open_encoder(store, info.spec, device=device, precision=precision, out=out)
    summary = score(
        store,
        run["run_id"],
        source,
        tags,
        encoder=encoder,
        top_k=TOP_K if top_k is None and threshold is None else top_k,
        threshold=threshold,
        step=step,
        regions=regions,
        batch_size=batch_size,
        workers=workers,
        max_rejects=max_rejects,
        overwrite=overwrite,
        device=resolve_device(device),
        progress=out.progress,
    )
    text = (
        f"{tags}: {summary.tags:,} tags for {summary.images:,} images by {summary.step}"
        f"{', with regions' if summary.regions_used else ''}; {summary.rejected:,} rejected"
    )
    if summary.without_tags:
        text += f"; {_images(summary.without_tags)} without tags"
    if html is not None:
        about = f"Tagged by taistore, run {run['run_id']}, encoder {info.spec}, {summary.step}"
        about += _threshold_text(threshold, summary.without_tags)
        _write(store, tags, html, about=about, page_images=page_images, out=out)
        text += f"\npage: {html}"
    found = {**summary.to_json(), "html": str(html) if html else None, "page_only": False}
    return out.result(found, text)


def _page_only(
    store: "Store", tags: Path, html: Path, *, page_images: int, out: Output
) -> dict[str, Any]:
    """Which run made the file of tags is not known here, so the page names the file."""
    about = f"Tagged by taistore, from {tags.name}."
    page = _write(store, tags, html, about=about, page_images=page_images, out=out)
    found = {"out": str(tags), "images": page.images + page.left_out, "html": str(html)}
    text = f"{tags} is there already: wrote the page only (--overwrite scores again)\npage: {html}"
    return out.result({**found, "page_only": True}, text)


def _write(
    store: "Store", tags: Path, html: Path, *, about: str, page_images: int, out: Output
) -> "PageSummary":
    from taistore.scoring.page.write_page import write_page

    return write_page(
        tags, html, store=store, about=about, max_images=page_images, progress=out.progress
    )


def _threshold_text(threshold: float | None, without_tags: int) -> str:
    """The end of the page's line: from which score on there are tags, and who got none."""
    if threshold is None:
        return "."
    text = f", threshold {threshold:g}."
    if without_tags:
        has = "has" if without_tags == 1 else "have"
        text += f" {_images(without_tags)} {has} no tag above {threshold:g}."
    return text


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
