"""``taistore export-scores``: the whole score matrix of a run."""

from pathlib import Path
from typing import Any

import click

from taistore import defaults
from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import common_options, device_option, store_option
from taistore_cli.output import Output
from taistore_cli.score import STEPS


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option(
    "--out",
    "file",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="Scores: .parquet, or .npy with .ids.txt and .labels.txt beside it.",
)
@click.option("--split", default=defaults.SPLIT, help="Images to score.")
@click.option("--step", type=click.Choice(STEPS), help="Step of the ladder; default: its top.")
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@store_option
@device_option
@common_options
def command(
    *,
    run_id: str,
    file: Path,
    split: str,
    step: Any,
    overwrite: bool,
    store_uri: str,
    device: str,
    out: Output,
) -> dict[str, Any]:
    """Write the scores of RUN for all images of a split: one row an image, one column a label.

    Columns are label keys, rows are named by image_id. taistore ensemble --with takes such files of
    other systems. Scores are as a step ranks by them: neither scaled nor overridden by what is
    known of an image. Tags, for photo programs and labelling tools, are written by taistore export.

    \b
    Example:
      taistore export-scores latest --out scores.parquet --step adapter
    """
    run = open_project(store_uri, out, device=device).run(run_id)
    found = run.export_scores(file, split=split, step=step, overwrite=overwrite)
    text = (
        f"{file}: scores of {counted(found.images, 'image')} of split {split!r} for "
        f"{counted(found.labels, 'label')} by {found.step}"
    )
    if found.without_vectors:
        text += f"; {counted(found.without_vectors, 'image')} without a vector are left out"
    text += "".join(f"\nbeside it: {path}" for path in found.files[1:])
    return out.result(found.to_json(), text)
