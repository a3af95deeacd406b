"""``taistore ingest-texts``: captions of your own, with their vectors."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from taistore_cli.opening import open_project
from taistore_cli.options import (
    at_store,
    common_options,
    device_option,
    encoder_option,
    max_rejects_option,
    precision_option,
    store_option,
)
from taistore_cli.output import Output


@click.command()
@click.argument("captions", type=click.Path(path_type=Path))
@encoder_option
@store_option
@device_option
@precision_option
@max_rejects_option
@click.option(
    "--audit",
    is_flag=True,
    help="Treat them as answers of a language model: unwrap captions, reject refusals and such.",
)
@common_options
def command(
    *,
    captions: Path,
    encoder_spec: str | None,
    store_uri: str,
    device: str,
    precision: str,
    max_rejects: int | None,
    audit: bool,
    out: Output,
) -> dict[str, Any]:
    """Add the captions in CAPTIONS (.txt, .jsonl, .csv, .tsv) and embed them.

    Labels come from a row's "labels", else they are found in the caption by name, synonym and
    plural, whole words, longest first. Captions that name no label are passed over.

    \b
    Example:
      taistore ingest-texts captions.jsonl
      taistore ingest-texts answers.txt --audit
    """
    project = open_project(store_uri, out, device=device, precision=precision)
    summary = project.ingest_texts(
        captions, audit=audit, encoder=encoder_spec, max_rejects=max_rejects
    )
    return out.result(
        asdict(summary),
        f"{summary.read:,} captions: {summary.written:,} written, {summary.present:,} were "
        f"there, {summary.unlabelled:,} name no label, {summary.rejected:,} rejected "
        f"({at_store('show --rejects', store_uri)})",
    )
