"""``taistore init``: a new store for a label set."""

from pathlib import Path
from typing import Any

import click

import taistore
from taistore import defaults
from taistore.printable import counted
from taistore_cli.options import (
    at_store,
    common_options,
    device_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output


@click.command()
@click.argument("labels_file", metavar="LABELS", type=click.Path(path_type=Path))
@click.option(
    "--encoder",
    "encoder_spec",
    default=defaults.ENCODER,
    metavar="SPEC",
    help="The store's default encoder; 'packaged' needs no model hub.",
)
@store_option
@device_option
@precision_option
@common_options
def command(
    *,
    labels_file: Path,
    encoder_spec: str,
    store_uri: str,
    device: str,
    precision: str,
    out: Output,
) -> dict[str, Any]:
    """Make a store for the labels in LABELS.

    LABELS is a .txt file with one label a line, or a .csv file with the columns key,name and
    optionally synonyms (separated by |). In a .txt file a line that begins with "# " is a comment,
    "#x" is a label, and a line that holds commas is refused unless it stands in double quotes. The
    encoder is loaded once, to see that it works here.

    \b
    Example:
      taistore init labels.txt --encoder packaged
    """
    project = taistore.create(
        store_uri,
        labels=labels_file,
        encoder=encoder_spec,
        device=device,
        precision=precision,
        progress=out.progress,
        note=out.note,
    )
    info = next((found for found, _ in project.contents().encoders), None)
    spec, labels = project.store.default_encoder, project.labels
    following = "ingest-images photos/" if info else "ingest-vectors --kind text"
    return out.result(
        {
            "store": project.uri,
            "labels": len(labels),
            "shared_names": labels.shared_names(),
            "encoder": spec,
            "encoder_id": info.encoder_id if info else None,
        },
        f"{project.uri}: {counted(len(labels), 'label')}, encoder {spec}\nnext: "
        f"{at_store(following, store_uri)}",
    )
