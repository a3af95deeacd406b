"""``taistore compare``: whether one run is better than another, on the same images."""

from typing import Any

import click

from taistore_cli.evaluate import protocol_option, synthetic_option
from taistore_cli.opening import open_project
from taistore_cli.options import (
    common_options,
    device_option,
    store_option,
)
from taistore_cli.output import Output


@click.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@click.option("--split", help="Images to compare on.  [default: test, or the protocol's]")
@synthetic_option
@protocol_option
@click.option(
    "--bootstrap",
    "samples",
    type=click.IntRange(min=100),
    default=1000,
    metavar="N",
    help="Resamples of the images, the same for both runs.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0)
@store_option
@device_option
@common_options
def command(
    *,
    first: str,
    second: str,
    split: str | None,
    synthetic: bool,
    protocol: str | None,
    samples: int,
    seed: int,
    store_uri: str,
    device: str,
    out: Output,
) -> dict[str, Any]:
    """Compare two runs: mAP of each step and AP of each label, the second minus the first.

    Intervals hold 95 % of paired resamples of the images; p is the share of resamples on the
    other side of no difference, twice. Neither knows of other seeds or other training texts.

    \b
    Example:
      taistore compare zsl-20260101-120000-abc123 latest --split test
    """
    project = open_project(store_uri, out, device=device)
    found = project.run(second).compare(
        first, split=split, synthetic=synthetic, protocol=protocol, samples=samples, seed=seed
    )
    return out.result(found.to_json(), found.table())
