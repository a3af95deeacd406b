"""``taistore evaluate``: the ladder of a run on labelled images."""

from pathlib import Path
from typing import Any

import click

from taistore_cli.opening import open_project
from taistore_cli.options import (
    common_options,
    device_option,
    store_option,
)
from taistore_cli.output import Output

PROTOCOLS = ("voc2007", "coco2014", "nuswide", "openimages")
"""Those of ``taistore.evaluation.protocols``, whose import would load torch only to show help."""

protocol_option = click.option(
    "--protocol",
    type=click.Choice(PROTOCOLS),
    help="Evaluate as published figures do: fixes split, labels and what counts, and says how.  "
    "[default: none]",
)


synthetic_option = click.option(
    "--synthetic",
    is_flag=True,
    help="On the store's synthetic images instead, whose labels are those of their texts.",
)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--split", help="Images to evaluate on.  [default: test, or the protocol's]")
@synthetic_option
@protocol_option
@click.option(
    "--bootstrap",
    type=click.IntRange(min=100),
    metavar="N",
    help="Also give mAP's 95 % interval over N resamples of the images, such as 1000.  "
    "[default: none]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    help="Of the resamples.",
)
@click.option(
    "--plots",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Draw the ladder, each label's AP, and mAP over what similar runs differ in, into DIR.",
)
@store_option
@device_option
@common_options
def command(
    *,
    run_id: str,
    split: str | None,
    synthetic: bool,
    protocol: str | None,
    bootstrap: int | None,
    seed: int,
    plots: Path | None,
    store_uri: str,
    device: str,
    out: Output,
) -> dict[str, Any]:
    """Print every step of the ladder for RUN (an id, or latest): mAP and per-label AP.

    Uses the vectors in the store; images whose labels are only partly known count where known. Of a
    calibrated run the precision that its thresholds reach here is shown beside the one promised.
    With --plots, mAP over radius, shots and known proportion is drawn from the recorded
    evaluations of runs that differ from RUN in just that (and in their seeds): evaluate them first.

    \b
    Example:
      taistore evaluate latest --split test --bootstrap 1000 --plots plots/
    """
    run = open_project(store_uri, out, device=device).run(run_id)
    found = run.evaluate(
        split=split,
        synthetic=synthetic,
        protocol=protocol,
        bootstrap=bootstrap or 0,
        seed=seed,
        plots=plots,
    )
    value, text = found.to_json(), found.table()
    if plots is not None:
        drawn = [str(path) for path in found.pictures]
        value["plots"] = drawn
        text += "\n\n" + "\n".join(f"picture: {path}" for path in drawn if path.endswith(".png"))
    return out.result(value, text)
