"""``taistore ensemble``: a run out of runs."""

from pathlib import Path
from typing import Any

import click

from taistore_cli.opening import open_store
from taistore_cli.options import (
    common_options,
    device_option,
    store_option,
)
from taistore_cli.output import Output


@click.command()
@click.argument("run_ids", metavar="RUN RUN ...", nargs=-1, required=True)
@click.option("--weights", metavar="W,W,...", help="One for each RUN; default: all alike.")
@click.option("--split", help="Take the ranges over these images only; default: all of the store.")
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for the new run's card; default: inside the store.",
)
@store_option
@device_option
@common_options
def command(
    *,
    run_ids: tuple[str, ...],
    weights: str | None,
    split: str | None,
    folder: Path | None,
    store_uri: str,
    device: str,
    out: Output,
) -> dict[str, Any]:
    """Average the scores of several RUNs; prints the id of the new run.

    Each run's scores are scaled to [0, 1] by their lowest and highest value over the store's
    images as they are now; these ranges are kept, and later scores outside them are not clipped.
    The new run can be evaluated, compared, scored with, and be a RUN here itself.

    \b
    Example:
      taistore ensemble zsl-20260101-120000-abc123 latest --weights 1,2
    """
    from taistore.encoders.precision import resolve_device
    from taistore.scoring.ensembles.make_ensemble import make_ensemble

    store = open_store(store_uri)
    made = make_ensemble(
        store,
        run_ids,
        weights=None if weights is None else _numbers(weights),
        split=split,
        device=resolve_device(device),
        out=folder,
        progress=out.progress,
    )
    over = "the store" if split is None else f"split {split!r}"
    lines = [f"run {made.run_id}: scores scaled by their ranges over {made.images:,} images of"]
    lines[0] += f" {over}, {'with' if made.regions_used else 'without'} regions; not clipped"
    lines += [f"  {member.weight:.3f}  {member.run_id}" for member in made.members]
    lines += [f"next: taistore evaluate {made.run_id}"]
    return out.result(made.to_json(), "\n".join(lines))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: give numbers separated by commas, such as 1,2", param_hint="--weights"
        ) from None
