"""``taistore prune``: photos that are gone leave the store."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import common_options, store_option
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.images.prune import PruneSummary


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--apply", is_flag=True, help="Remove them; without it they are only shown.")
@click.option(
    "--lost-folders",
    is_flag=True,
    help="Also where all photos of a folder are gone, as if its disk were not mounted.",
)
@click.option(
    "--format",
    "layout",
    metavar="NAME",
    default="auto",
    help="What PATH is, as for ingest-images.",
)
@click.option(
    "--images",
    "photos",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the photos that annotations name, as for ingest-images.",
)
@store_option
@common_options
def command(
    *,
    path: Path | None,
    apply: bool,
    lost_folders: bool,
    layout: str,
    photos: Path | None,
    store_uri: str,
    out: Output,
) -> dict[str, Any]:
    """Show the photos of the store that are gone from disk; with --apply, remove them.

    With PATH, a folder, only photos below it. With a manifest or a data set's annotations, also
    those in the folder of its photos that it does not list. What was known of a photo goes with
    it, its vectors and its rejects; a photo of which a copy is there stays under that path. Nothing
    is removed where a folder lost all of its photos, as its disk may not be mounted.

    \b
    Examples:
      taistore prune
      taistore prune photos/ --apply
    """
    summary = open_project(store_uri, out).prune(
        path, apply=apply, lost_folders=lost_folders, layout=layout, photos=photos
    )
    return out.result(asdict(summary), _text(summary))


def _text(summary: "PruneSummary") -> str:
    gone = "removed" if summary.applied else "is gone" if summary.gone == 1 else "are gone"
    lines = [
        f"{summary.source}: {summary.gone:,} of {counted(summary.images, 'image')} "
        f"{gone} ({counted(summary.paths, 'path')}), "
        f"{counted(summary.vectors, 'row')} of vectors, {counted(summary.rejects, 'reject')}"
    ]
    lines += [f"  {path}" for path in summary.examples]
    left = summary.paths - len(summary.examples)
    lines += [f"  and {left:,} more"] if left else []
    if not summary.applied:
        lines += [
            f"all photos of {folder} are gone: mount its disk, or give --lost-folders where they "
            "are gone for good"
            for folder in summary.lost_folders
        ]
        lines.append("nothing was removed: --apply does it")
    return "\n".join(lines)
