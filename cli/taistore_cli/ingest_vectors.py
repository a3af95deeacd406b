"""``taistore ingest-vectors``: vectors that were made elsewhere."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from taistore_cli.opening import open_project
from taistore_cli.options import common_options, store_option
from taistore_cli.output import Output


@click.command()
@click.argument("vectors", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["text", "image"]), required=True)
@click.option("--name", required=True, help="What made them; the encoder becomes vectors:NAME.")
@click.option(
    "--ids",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Ids of a .npy file: .txt (one a line) or .jsonl (one object a line).",
)
@click.option(
    "--template",
    default="{}",
    help="Text of a row, {} standing for its id; for --kind text.",
)
@click.option("--split", metavar="NAME", help="Split of image rows that name none.")
@store_option
@common_options
def command(
    *,
    vectors: Path,
    kind: str,
    name: str,
    ids: Path | None,
    template: str,
    split: str | None,
    store_uri: str,
    out: Output,
) -> dict[str, Any]:
    """Add existing VECTORS: a .npy file with ids, Parquet, or a clip-retrieval folder.

    Ids of text vectors are label names or captions, ids of image vectors are paths or URLs; a
    field "labels" in a .jsonl of ids names the labels of each row.

    \b
    Example:
      taistore ingest-vectors text.npy --kind text --name clip-b32 --ids names.txt
    """
    project = open_project(store_uri, out)
    summary: Any
    if kind == "text":
        summary = project.ingest_text_vectors(vectors, name=name, ids=ids, template=template)
    else:
        summary = project.ingest_image_vectors(vectors, name=name, ids=ids, split=split)
    value = asdict(summary)
    counts = ", ".join(
        f"{number:,} {field.replace('_', ' ')}"
        for field, number in value.items()
        if isinstance(number, int)
    )
    return out.result(value, f"encoder {summary.encoder}: {counts}")
