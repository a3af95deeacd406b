"""``taistore ingest-images``: photos, what is known about them, and their vectors."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from taistore import defaults
from taistore_cli.opening import open_project
from taistore_cli.options import (
    at_store,
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

if TYPE_CHECKING:
    from taistore.images.ingest import IngestImagesSummary
    from taistore.project import Project

_SHOWN_LABELS = 5


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--regions",
    type=click.IntRange(min=0, max=32),
    metavar="G",
    help="Also store the vectors of a G x G grid of regions, which tags are better for: up to a "
    "tenth more time, and 98 bytes a photo and dimension with 7. 0: none.  [default: as the store "
    f"has them, else {defaults.REGIONS}]",
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
    "none (new images: train).",
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
    changed takes the place of the old one. What cannot be read is set aside with a reason, and so
    is a label that is not in the label set, whose photo is kept.

    In a folder hidden files and folders are passed over, and so are @eaDir and the like. RAW,
    videos and files without an extension are skipped and counted, and so are links to folders
    elsewhere. HEIC needs the extra [heic].

    \b
    Examples:
      taistore ingest-images photos/
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
    lines = [*_lines(summary, store_uri), f"next: {_following(project, store_uri)}"]
    return out.result(asdict(summary), "\n".join(lines))


def _lines(summary: "IngestImagesSummary", store_uri: str) -> list[str]:
    rejects = f" ({at_store('show --rejects', store_uri)})" if summary.rejected else ""
    rate = summary.encoded / summary.seconds if summary.seconds else 0.0
    grid = f" with {summary.regions} x {summary.regions} regions" if summary.regions else ""
    return [
        f"{summary.seen:,} images: {summary.added:,} added, {summary.already_there:,} were there, "
        f"{summary.relabelled:,} relabelled, {summary.duplicates:,} duplicates, "
        f"{summary.rejected:,} rejected{rejects}",
        f"{summary.encoded:,} encoded{grid} in {summary.seconds:,.1f} s ({rate:.1f}/s)",
        *set_aside(summary, store_uri),
    ]


def set_aside(summary: "IngestImagesSummary", store_uri: str) -> list[str]:
    """Lines about what an ingest left: labels that are none of the set, contents that went."""
    lines = []
    if summary.unknown_labels:
        names = [f"{name!r} ({rows:,})" for name, rows in summary.unknown_labels.items()]
        left = len(names) - _SHOWN_LABELS
        more = f" and {left:,} more" if left > 0 else ""
        first = shlex.quote(next(iter(summary.unknown_labels)))
        lines.append(
            f"labels that are not in the label set: {', '.join(names[:_SHOWN_LABELS])}{more}; the "
            f"photos are kept, and '{at_store(f'labels add {first}', store_uri)}' adds the first"
        )
    if summary.replaced:
        lines.append(
            f"{summary.replaced:,} replaced by a new content; the old ones' vectors go with "
            f"'{at_store('prune --apply', store_uri)}', in ten minutes at the earliest"
        )
    return lines


def _following(project: "Project", store_uri: str) -> str:
    """What is mostly done next: captions, then an adapter, then tags."""
    if not project.store.count("texts"):
        return at_store("generate-texts", store_uri)
    if not any(row.status == "finished" for row in project.store.runs()):
        return at_store("train --task zsl", store_uri)
    return at_store("score latest --out tags.parquet", store_uri)
