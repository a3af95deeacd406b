"""``taistore ingest-images``: photos, what is known about them, and their vectors."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from taistore.printable import counted
from taistore_cli.opening import open_project
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
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--regions",
    type=click.IntRange(min=0, max=32),
    metavar="G",
    help="Also store the vectors of a G x G grid of regions; 7 suits every encoder, 0: none.  "
    "[default: as the store has them, else none]",
)
@click.option(
    "--format",
    "layout",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="What PATH is: folder, manifest, coco, voc, nuswide, openimages, or a kind that another "
    "package adds; auto tells from its structure.",
)
@click.option(
    "--images",
    "photos",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the photos that annotations name; default: where the data set has it.",
)
@click.option(
    "--crowd",
    type=click.Choice(["positive", "ignore"]),
    help="COCO: what a label is that only crowd boxes show: present (default), or unknown.",
)
@click.option(
    "--difficult",
    type=click.Choice(["ignore", "negative", "positive"]),
    help="VOC: what a label is that only difficult objects show: unknown (default), absent, "
    "present.",
)
@click.option(
    "--split",
    metavar="NAME",
    help="VOC, NUS-WIDE: only the images of this list. Elsewhere: the split of rows that name "
    "none (new images: test).",
)
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
    path: Path,
    layout: str,
    photos: Path | None,
    crowd: Literal["positive", "ignore"] | None,
    difficult: Literal["ignore", "negative", "positive"] | None,
    regions: int | None,
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
    """Add the images in PATH: a folder (recursive), a manifest, or a data set's annotations.

    A manifest (.jsonl, .csv, .parquet) row has "image" (relative to the manifest), and "labels"
    where all labels are known, or "positives" and "negatives" where some are, or a column per
    label with 1, 0 or -1 (unknown); optionally "split". Data sets: COCO's instances_*.json, a
    Pascal VOC folder, NUS-WIDE's folder of ImageList and Groundtruth, OpenImages' image-level
    .csv. Images that are there are not encoded again, only relabelled: what a row says of a label
    replaces what was known of that label, and -1 makes it unknown again. A photo whose content
    changed takes the place of the old one. What cannot be read is set aside with a reason.

    \b
    Examples:
      taistore ingest-images photos/ --regions 7
      taistore ingest-images coco/annotations/instances_train2017.json --split train
      taistore ingest-images VOCdevkit/VOC2007 --split trainval --difficult ignore
      taistore ingest-images NUS-WIDE/ --images NUS-WIDE/Flickr --split test
      taistore ingest-images train-annotations-human-imagelabels.csv --images train/ --split train
    """
    project = open_project(store_uri, out, device=device, precision=precision)
    summary = project.ingest_images(
        path,
        regions=regions,
        layout=layout,
        photos=photos,
        crowd=crowd,
        difficult=difficult,
        split=split,
        encoder=encoder_spec,
        batch_size=batch_size,
        workers=workers,
        max_rejects=max_rejects,
    )
    rejects = " (taistore show --rejects)" if summary.rejected else ""
    rate = summary.encoded / summary.seconds if summary.seconds else 0.0
    replaced = f"\n{summary.replaced:,} replaced by a new content" if summary.replaced else ""
    grid = f" with {summary.regions} x {summary.regions} regions" if summary.regions else ""
    return out.result(
        asdict(summary),
        f"{counted(summary.seen, 'image')}: {summary.added:,} added, {summary.already_there:,} "
        f"were there, {summary.relabelled:,} relabelled, {summary.duplicates:,} duplicates, "
        f"{summary.rejected:,} rejected{rejects}\n"
        f"{summary.encoded:,} encoded{grid} in {summary.seconds:,.1f} s ({rate:.1f}/s){replaced}",
    )
