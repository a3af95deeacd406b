"""``taistore find``: photos of the store that a text, a photo or labels are about."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taistore.printable import printable
from taistore_cli.opening import open_project
from taistore_cli.options import (
    common_options,
    device_option,
    encoder_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.finding.found import Found

_TAGS_SHOWN = 3


@click.command()
@click.argument("text", required=False)
@click.option("--like", metavar="PHOTO", help="Photos like this one: a path, or an image_id.")
@click.option(
    "--label", "labels", multiple=True, metavar="LABEL", help="Photos with this label; repeatable."
)
@click.option(
    "--not", "without", multiple=True, metavar="LABEL", help="Photos without it; repeatable."
)
@click.option(
    "--min",
    "least",
    type=click.FloatRange(-1, 1),
    metavar="SCORE",
    help="Lowest score: of each --label where there is one, else the cosine; --not leaves out what "
    "scores higher than the labels' --min. Default: none, 0.5 for --not and for --label beside a "
    "text or a photo.",
)
@click.option("--split", metavar="NAME", help="Photos of this split only.")
@click.option("--run", "run_id", metavar="RUN", help="Run that scores; default: latest finished.")
@click.option(
    "--top-k", type=click.IntRange(min=1), default=20, show_default=True, help="Photos at most."
)
@click.option("--paths", is_flag=True, help="Print paths only, one a line.")
@click.option("-0", "--print0", is_flag=True, help="Print paths only, each ended by NUL: xargs -0.")
@click.option(
    "--out",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write them to a .csv, .jsonl or .parquet file.",
)
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="A page to look at.")
@click.option("--overwrite", is_flag=True, help="Replace FILE of --out.")
@encoder_option
@store_option
@device_option
@precision_option
@common_options
def command(
    *,
    text: str | None,
    like: str | None,
    labels: tuple[str, ...],
    without: tuple[str, ...],
    least: float | None,
    split: str | None,
    run_id: str | None,
    top_k: int,
    paths: bool,
    print0: bool,
    table: Path | None,
    html: Path | None,
    overwrite: bool,
    encoder_spec: str | None,
    store_uri: str,
    device: str,
    precision: str,
    out: Output,
) -> dict[str, Any]:
    """Find photos of the store by TEXT, by a photo that they are like, or by labels.

    All that is given has to hold. A text or a photo ranks by cosine, labels alone by the run's
    scores, the lowest of them; what is known of a photo counts before scores. A photo that the
    store has is looked up by its content and needs no encoder; it is left out of the answer.
    --print0 is for xargs -0.

    \b
    Example:
      taistore find "a dog on a beach"
      taistore find --like photo.jpg --label dog --min 0.5 --not cat
      taistore find "a dog" --html dogs.html
    """
    only_paths = paths or print0
    if only_paths and out.as_json:
        raise click.UsageError("--paths prints paths only: leave --json out")
    project = open_project(store_uri, out, device=device, precision=precision)
    found = project.find(
        text,
        like=like,
        labels=labels,
        without=without,
        least=least,
        split=split,
        top_k=top_k,
        run=run_id,
        encoder=encoder_spec,
        tags=not only_paths or table is not None or html is not None,
        out=table,
        html=html,
        overwrite=overwrite,
    )
    value = {**found.to_json(), "out": _text(table), "html": _text(html)}
    if not only_paths:
        return out.result(value, "\n".join(_lines(found, table, html)))
    for path in found.paths:
        if print0:
            click.echo(path.encode() + b"\0", nl=False)
        else:
            click.echo(printable(path) if sys.stdout.isatty() else path)
    if found.gone:
        out.note(_gone(found))
    return value


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _lines(found: "Found", table: Path | None, html: Path | None) -> list[str]:
    lines = []
    for photo in found if table is None and html is None else ():
        tags = ", ".join(tag.name for tag in (photo.tags or ())[:_TAGS_SHOWN])
        line = f"{photo.rank:>4}  {photo.score:6.3f}  {printable(photo.uri)}"
        line += "  (gone)" if photo.gone else ""
        lines.append(line + (f"  {printable(tags)}" if tags else ""))
    photos = "photo" if len(found) == 1 else "photos"
    if table is not None:
        lines.append(f"{table}: {len(found):,} {photos}")
    if html is not None:
        lines.append(f"page: {html}")
    if not found.photos:
        return [f"no photo of {found.searched:,} is so: ask for less, or lower --min", *lines]
    lines.append(
        f"{len(found):,} of {found.searched:,} {photos} by {found.encoder}"
        f"{', with the index' if found.indexed else ''}. {found.order}"
    )
    if found.gone:
        lines.append(_gone(found))
    return lines


def _gone(found: "Found") -> str:
    one = found.gone == 1
    return (
        f"{found.gone:,} of these {'has' if one else 'have'} no file any more: 'taistore prune' "
        "shows which, and takes them out"
    )
