"""``taistore export``: tags where photo programs and labelling tools look for them."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import taistore
from taistore.stopping import StopRequested
from taistore_cli.opening import open_project
from taistore_cli.options import (
    common_options,
    device_option,
    store_option,
    threshold_option,
    top_k_option,
)
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.exporting.export_options import TagExport

FORMATS = (
    *("xmp", "sidecar-json"),
    *("coco", "csv-wide", "fiftyone", "label-studio", "imagefolder"),
)
"""Those of ``taistore.exporting.export_options``, whose import would load more to show help."""

SIDECARS = FORMATS[:2]
"""Written one by one, so that those that are written stay; the others are whole or not there."""

SHOWN = 10


@click.command()
@click.argument("source", metavar="RUN|TAGS")
@click.option(
    "--to",
    type=click.Choice(FORMATS),
    required=True,
    help="xmp, sidecar-json: a file beside each photo, photo.jpg.xmp or photo.jpg.json. coco, "
    "csv-wide, label-studio: one file. fiftyone, imagefolder: a folder.",
)
@click.option(
    "--out",
    "place",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File or folder to write; sidecars without it lie beside the photos, with it in a tree of "
    "folders like theirs.",
)
@threshold_option
@top_k_option
@click.option(
    "--run",
    "run_name",
    metavar="NAME",
    help="What the tags of a file are marked with; default: the run that a .parquet file names, "
    "else the file's name.",
)
@click.option(
    "--retract",
    metavar="RUN",
    help="Take back the tags that this run put into sidecars, and nothing else; in the place of "
    "TAGS a folder of photos may stand.",
)
@click.option(
    "--naming",
    type=click.Choice(["auto", "full", "stem"]),
    default="auto",
    help="XMP sidecars: full is photo.jpg.xmp (digiKam, darktable), stem is photo.xmp (Lightroom); "
    "auto is full, unless photo.xmp is there and is of this photo alone.",
)
@click.option(
    "--under", default="", metavar="KEYWORD", help="Put the keywords below this one, in XMP."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder that sidecars' paths in --out start from; of label-studio the served folder; "
    "default: the one that holds all photos.",
)
@click.option("--copy", is_flag=True, help="imagefolder: copies of the photos, not links.")
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@store_option
@device_option
@common_options
def command(
    *,
    source: str,
    to: Any,
    place: Path | None,
    threshold: float | None,
    top_k: int | None,
    run_name: str | None,
    retract: str | None,
    naming: Any,
    under: str,
    root: Path | None,
    copy: bool,
    overwrite: bool,
    dry_run: bool,
    store_uri: str,
    device: str,
    out: Output,
) -> dict[str, Any]:
    """Write tags where photos live: those of a run over the store's photos, or of a file of tags.

    Photos are never written to. Sidecars that are there are merged: what a person or another
    program wrote stays. Each tag is marked with its run, so that another export of the run brings
    it up to date and --retract takes it back. A keyword that a person took away is not added again.
    Photos and sidecars that cannot be used are set aside and named. For scores of all labels, as
    taistore ensemble takes them, see taistore export-scores.

    \b
    Example:
      taistore export tags.parquet --to xmp --dry-run
      taistore export latest --to xmp --threshold 0.5
      taistore export photos/ --to xmp --retract zsl-20260101-120000-abc123
      taistore export tags.jsonl --to coco --out tags.json
    """
    if retract == "latest":
        retract = open_project(store_uri, out).run().run_id
    options: dict[str, Any] = {
        "to": to,
        "out": place,
        "threshold": threshold,
        "top_k": top_k,
        "retract": retract,
        "naming": naming,
        "under": under,
        "root": root,
        "copy": copy,
        "overwrite": overwrite,
        "dry_run": dry_run,
    }
    from taistore.jobs.difference_job import is_tag_file

    try:
        if is_tag_file(source):
            found = taistore.export(source, run=run_name, progress=out.progress, **options)
        else:
            if run_name is not None:
                raise click.UsageError("--run names the tags of a file; a run has its own name")
            found = open_project(store_uri, out, device=device).run(source).export(**options)
    except StopRequested as stop:
        if to in SIDECARS and not dry_run:
            stop.kept = "what is done is kept"
        raise
    lines = _lines(found)
    if found.retracted and Path(source).is_file():
        lines.append(
            f"photos without tags in {source} were not looked at: name their folder in its place "
            "to look at all sidecars"
        )
    return out.result(_told(found), "\n".join(lines))


def _told(found: "TagExport") -> dict[str, Any]:
    return {**asdict(found), "set_aside": [each._asdict() for each in found.set_aside]}


def _lines(found: "TagExport") -> list[str]:
    head = f"{found.to}, {'taken back: ' if found.retracted else ''}run {found.run}: "
    counts = ((found.written, "written"), (found.merged, "merged"), (found.removed, "removed"))
    done = [f"{count:,} {what}" for count, what in counts if count]
    if found.unchanged:
        done.append(f"{found.unchanged:,} unchanged")
    head += ", ".join(done) or "nothing to do"
    if not found.retracted:
        head += f"; tags: {found.tags:,}, photos: {found.images:,}"
    lines = [f"nothing written, as this is a dry run; would be: {head}" if found.dry_run else head]
    if found.dry_run:
        lines += [f"  {path}" for path in found.files]
        changed = found.written + found.merged + found.removed
        if (more := changed - len(found.files)) > 0:
            lines.append(f"  and {more:,} more")
    if found.set_aside:
        lines.append(f"set aside: {len(found.set_aside):,}")
        lines += [f"  {each.path}: {each.reason}" for each in found.set_aside[:SHOWN]]
        if (more := len(found.set_aside) - SHOWN) > 0:
            lines.append(f"  {more:,} more (--json names all)")
    return lines
