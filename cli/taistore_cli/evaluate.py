"""``taistore evaluate``: the ladder of a run on labelled images."""

from typing import Any

import click

from taistore_cli.opening import label_prompts, open_store
from taistore_cli.options import (
    common_options,
    device_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--split", default="test", show_default=True, help="Images to evaluate on.")
@store_option
@device_option
@precision_option
@common_options
def command(
    *, run_id: str, split: str, store_uri: str, device: str, precision: str, out: Output
) -> dict[str, Any]:
    """Print every step of the ladder for RUN (an id, or latest): mAP and per-label AP.

    Uses the vectors in the store; images whose labels are only partly known count where known.

    \b
    Example:
      taistore evaluate latest --split test
    """
    from taistore.encoders.precision import resolve_device
    from taistore.evaluation.job import evaluate

    store = open_store(store_uri)
    run = store.run(run_id)
    info = store.encoder(run["encoder_id"])
    found = evaluate(
        store,
        run["run_id"],
        split=split,
        prompts_ND=label_prompts(store, info, device=device, precision=precision, out=out),
        device=resolve_device(device),
        progress=out.progress,
    )
    return out.result(found.to_json(), found.table())
