"""``taistore ingest-images``: photos, what is known about them, and their vectors."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from taistore_cli.opening import open_encoder, open_store, tidy
from taistore_cli.options import (
    batch_size_option,
    common_options,
    device_option,
    encoder_option,
    max_rejects_option,
    precision_option,
    store_option,
    workers_option,
)
from taistore_cli.output import Output


@click.command()
@click.argument("photos", type=click.Path(path_type=Path))
@click.option(
    "--regions",
    type=click.IntRange(min=0, max=32),
    default=0,
    show_default=True,
    metavar="G",
    help="Also store the vectors of a G x G grid of regions; 7 suits every encoder.",
)
@click.option("--split", metavar="NAME", help="Split of rows that name none; new images: test.")
@batch_size_option(32)
@workers_option
@encoder_option
@store_option
@device_option
@precision_option
@max_rejects_option
@common_options
def command(
    *,
    photos: Path,
    regions: int,
    split: str | None,
    batch_size: int,
    workers: int,
    encoder_spec: str | None,
    store_uri: str,
    device: str,
    precision: str,
    max_rejects: int | None,
    out: Output,
) -> dict[str, Any]:
    """Add the images in PHOTOS: a folder (recursive) or a manifest (.jsonl, .csv, .parquet).

    A manifest row has "image" (relative to the manifest), and "labels" where all labels are
    known, or "positives" and "negatives" where some are; optionally "split". Images that are
    there are not encoded again, and what cannot be read is set aside with a reason.

    \b
    Example:
      taistore ingest-images photos/ --regions 7
    """
    from taistore.images.job import ingest_images
    from taistore.images.sources import open_source

    store = open_store(store_uri)
    source = open_source(photos, store.labels)
    encoder = open_encoder(store, encoder_spec, device=device, precision=precision, out=out)
    summary = ingest_images(
        store,
        encoder,
        source,
        regions=regions,
        split=split,
        batch_size=batch_size,
        workers=workers,
        max_rejects=max_rejects,
        progress=out.progress,
    )
    tidy(store, out)
    rejects = " (taistore show --rejects)" if summary.rejected else ""
    rate = summary.encoded / summary.seconds if summary.seconds else 0.0
    return out.result(
        asdict(summary),
        f"{summary.seen:,} images: {summary.added:,} added, {summary.already_there:,} were there, "
        f"{summary.relabelled:,} relabelled, {summary.duplicates:,} duplicates, "
        f"{summary.rejected:,} rejected{rejects}\n"
        f"{summary.encoded:,} encoded in {summary.seconds:,.1f} s ({rate:.1f}/s)",
    )
