"""``taistore tag``: the main job, labels and photos in, tags and a page out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

import taistore
from taistore import defaults
from taistore_cli.ingest_images import set_aside
from taistore_cli.options import (
    at_store,
    common_options,
    device_option,
    known_option,
    max_rejects_option,
    precision_option,
    store_option,
    threshold_option,
    top_k_option,
)
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.jobs.tag_job import TagSummary


@click.command()
@click.argument("photos", type=click.Path(path_type=Path))
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="A .txt file with one label a line ('# x' is a comment, '#x' a label), or a "
    ".csv file with the columns key,name and optionally synonyms (separated by |).",
)
@click.option(
    "--out",
    "tags",
    type=click.Path(path_type=Path),
    default=defaults.TAGS,
    show_default=True,
    metavar="FILE",
    help="Tags: .jsonl, .parquet or .csv; a file of tags that is there is replaced.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The page to look at; default: beside the tags, as .html.",
)
@click.option(
    "--encoder",
    metavar="SPEC",
    help="Encoder, such as packaged, which needs no model hub; default: that of the store, of a "
    f"new one {defaults.ENCODER}.",
)
@click.option(
    "--regions",
    type=click.IntRange(min=1, max=32),
    default=defaults.REGIONS,
    show_default=True,
    metavar="G",
    help="Look at a G x G grid of regions of each photo as well.",
)
@top_k_option
@threshold_option
@known_option
@store_option
@device_option
@precision_option
@max_rejects_option
@common_options
def command(
    *,
    photos: Path,
    labels_file: Path,
    tags: Path,
    html: Path | None,
    encoder: str | None,
    regions: int,
    top_k: int | None,
    threshold: float | None,
    known: Literal["override", "ignore"],
    store_uri: str,
    device: str,
    precision: str,
    max_rejects: int | None,
    out: Output,
) -> dict[str, Any]:
    """Tag PHOTOS, a folder or a manifest, with the labels of a file: the whole job at once.

    Makes a store where there is none, encodes the photos, writes captions of the labels, trains an
    adapter that reads no label of any photo, and writes the tags and a page to look at, whose path
    is the last line. Run again it does what is new: photos that were added are encoded, and an
    adapter is trained again where texts or settings are others (from 200 photos on, also where
    photos are). A job that was stopped goes on. Photos that cannot be read are set aside with a
    reason (taistore show --rejects).

    \b
    Example:
      taistore tag photos/ --labels labels.txt --encoder packaged
      taistore tag photos/ --labels labels.txt --out tags.csv --threshold 0.3
    """
    summary = taistore.tag(
        photos,
        labels=labels_file,
        path=store_uri,
        encoder=encoder,
        out=tags,
        html=html,
        regions=regions,
        top_k=top_k,
        threshold=threshold,
        known=known,
        max_rejects=max_rejects,
        device=device,
        precision=precision,
        progress=out.progress,
        note=out.note,
    )
    return out.result(summary.to_json(), "\n".join(_lines(summary, store_uri)))


def _lines(summary: "TagSummary", store_uri: str) -> list[str]:
    images, tags = summary.images, summary.tags
    rejects = f"{images.rejected:,} rejected"
    if images.rejected:
        rejects += f" ({at_store('show --rejects', store_uri)})"
    learnt = "trained" if summary.trained else "as before"
    if tags is None:
        line = f"{summary.out}: as before"
    else:
        line = f"{summary.out}: {tags.tags:,} tags for {tags.images:,} images by {tags.step}"
        if tags.without_tags:
            line += f"; {tags.without_tags:,} without tags"
    return [
        f"{images.seen:,} photos: {images.encoded:,} encoded, {rejects}",
        *set_aside(images, store_uri),
        f"{summary.texts_written:,} texts written; run {summary.run_id} {learnt}",
        line,
        summary.html,
    ]
