"""``taistore score``: tags for a folder, a manifest or the store's own images."""

from pathlib import Path
from typing import Any

import click

from taistore_cli.opening import label_prompts, open_encoder, open_store
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

STEPS = ("zero_shot", "standardised", "regions", "adapter_global", "adapter", "ensemble")


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
    "--top-k", type=click.IntRange(min=1), default=5, show_default=True, help="Tags per image."
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
    top_k: int,
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
    aside with a reason (taistore show --rejects).

    \b
    Example:
      taistore score latest photos/ --out tags.parquet --html tags.html
    """
    from taistore.encoders.precision import resolve_device
    from taistore.images.sources import open_source
    from taistore.scoring.job import score
    from taistore.scoring.page import write_page

    store = open_store(store_uri)
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
        prompts_ND=label_prompts(
            store, info, device=device, precision=precision, out=out, encoder=encoder
        ),
        encoder=encoder,
        top_k=top_k,
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
    if html is not None:
        about = f"Tagged by taistore, run {run['run_id']}, encoder {info.spec}, {summary.step}."
        write_page(
            tags, html, store=store, about=about, max_images=page_images, progress=out.progress
        )
        text += f"\npage: {html}"
    return out.result({**summary.to_json(), "html": str(html) if html else None}, text)
