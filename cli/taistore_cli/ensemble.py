"""``taistore ensemble``: a run out of runs."""

from pathlib import Path
from typing import Any, Literal

import click

from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import (
    at_store,
    common_options,
    device_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output


@click.command()
@click.argument("run_ids", metavar="RUN RUN ...", nargs=-1, required=True)
@click.option(
    "--with",
    "scores",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Another system's scores of the images of --split: .parquet with a column image_id and "
    "one for each label key, or .npy [images, labels].",
)
@click.option(
    "--ids",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Images of a .npy, one image_id or path a line; default: FILE.ids.txt beside it.",
)
@click.option(
    "--label-keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Labels of a .npy, one key a line; default: FILE.labels.txt beside it.",
)
@click.option(
    "--rule",
    type=click.Choice(["scaled", "paper"]),
    default="scaled",
    help="scaled: all scores are scaled to [0, 1]; paper: the first RUN's probabilities, and the "
    "others scaled.",
)
@click.option(
    "--weights", metavar="W,W,...", help="One for each RUN, then of --with; default: all alike."
)
@click.option(
    "--split",
    help="Take the ranges over these images only.  [default: all of the store; test for paper and "
    "--with]",
)
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for the new run's card; default: inside the store.",
)
@store_option
@device_option
@precision_option
@common_options
def command(
    *,
    run_ids: tuple[str, ...],
    scores: Path | None,
    ids: Path | None,
    label_keys: Path | None,
    rule: Literal["scaled", "paper"],
    weights: str | None,
    split: str | None,
    folder: Path | None,
    store_uri: str,
    device: str,
    precision: str,
    out: Output,
) -> dict[str, Any]:
    """Average the scores of several RUNs, or of RUN and another system; prints the new run's id.

    Scores are scaled to [0, 1] by their lowest and highest value over the store's images as they
    are now; these ranges are kept, and later scores outside them are not clipped. With --rule
    paper the first RUN gives its probabilities as they are. The new run can be evaluated, compared
    and scored with. Scores given --with are kept with it: it then scores the images of --split and
    no others.

    \b
    Example:
      taistore ensemble zsl-20260101-120000-abc123 latest --weights 1,2
      taistore ensemble latest --with dualcoop.parquet --rule paper
    """
    project = open_project(store_uri, out, device=device, precision=precision)
    made = project.ensemble(
        run_ids,
        scores=scores,
        ids=ids,
        label_keys=label_keys,
        rule=rule,
        weights=None if weights is None else _numbers(weights),
        split=split,
        out=folder,
    )
    over = "the store" if made.split is None else f"split {made.split!r}"
    lines = [
        f"run {made.run_id}: scores scaled by their ranges over {counted(made.images, 'image')} of"
    ]
    lines[0] += f" {over}, {'with' if made.regions_used else 'without'} regions; not clipped"
    for number, member in enumerate(made.members):
        how = "  probabilities, not scaled" if made.rule == "paper" and not number else ""
        lines.append(f"  {member.weight:.3f}  {member.run_id}{how}")
    if made.imported is not None:
        lines.append(f"  {made.imported.weight:.3f}  {made.imported.source}")
    lines += [f"next: {at_store(f'evaluate {made.run_id}', store_uri)}"]
    return out.result(made.to_json(), "\n".join(lines))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: give numbers separated by commas, such as 1,2", param_hint="--weights"
        ) from None
