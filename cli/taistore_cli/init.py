"""``taistore init``: a new store for a label set."""

from pathlib import Path
from typing import Any

import click

from taistore_cli.options import (
    common_options,
    device_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output

DEFAULT_ENCODER = "open_clip:RN50/openai@224"


@click.command()
@click.argument("labels_file", metavar="LABELS", type=click.Path(path_type=Path))
@click.option(
    "--encoder",
    "encoder_spec",
    default=DEFAULT_ENCODER,
    show_default=True,
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
    optionally synonyms (separated by |). The encoder is loaded once, to see that it works here.

    \b
    Example:
      taistore init labels.txt --encoder packaged
    """
    from taistore.encoders.registry import canonical_spec, load_encoder
    from taistore.labels import read_labels
    from taistore.store.store import Store

    labels = read_labels(labels_file)
    shared = labels.shared_names()
    if shared:
        example = next(iter(shared))
        out.note(
            f"warning: {len(shared)} names are used by several labels (such as {example!r}: "
            f"{', '.join(shared[example])}): give them synonyms to tell them apart in prompts"
        )
    spec = canonical_spec(encoder_spec)
    info = None
    if not spec.startswith("vectors:"):
        out.note(f"loading encoder {spec}")
        info = load_encoder(spec, device=device, precision=precision).info
    store = Store.create(store_uri, labels, default_encoder=spec)
    if info is not None:
        store.register_encoder(info)
    following = "generate-texts" if info else "ingest-vectors --kind text"
    return out.result(
        {
            "store": store.uri,
            "labels": len(labels),
            "shared_names": shared,
            "encoder": spec,
            "encoder_id": info.encoder_id if info else None,
        },
        f"{store.uri}: {len(labels):,} labels, encoder {spec}\nnext: taistore {following}",
    )
