"""``taistore show``: what a store holds."""

from typing import Any

import click

from taistore_cli.opening import open_store
from taistore_cli.options import common_options, store_option
from taistore_cli.output import Output

GLOBAL_TABLES = ("labels", "combinations", "texts", "images", "runs", "rejects")


@click.command()
@click.option("--rejects", is_flag=True, help="List what was set aside, and why.")
@store_option
@common_options
def command(*, rejects: bool, store_uri: str, out: Output) -> dict[str, Any]:
    """Show tables, encoders and runs of a store.

    \b
    Example:
      taistore show --rejects
    """
    from dataclasses import asdict

    store = open_store(store_uri)
    tables = {kind: store.count(kind) for kind in GLOBAL_TABLES}
    encoders = []
    for info in store.encoders():
        counts = {
            kind: store.count(kind, info.encoder_id)
            for kind in ("text_vectors", "image_vectors", "region_vectors")
        }
        encoders.append({**asdict(info), **counts})
    runs = store.runs()
    value: dict[str, Any] = {
        "store": store.uri,
        "default_encoder": store.default_encoder,
        "tables": tables,
        "encoders": encoders,
        "runs": [asdict(run) for run in runs],
    }
    lines = [f"{store.uri}  (default encoder {store.default_encoder})"]
    lines += [f"  {kind:<13} {count:>12,}" for kind, count in tables.items()]
    for row in encoders:
        lines.append(
            f"encoder {row['spec']}: {row['dim']} dimensions, {row['text_vectors']:,} text, "
            f"{row['image_vectors']:,} image, {row['region_vectors']:,} region vectors"
        )
    for run in runs:
        lines.append(f"run {run.run_id}: {run.task}, {run.status}, {run.created:%F %R}")
    if rejects:
        rows = [row for batch in store.scan("rejects") for row in batch.to_pylist()]
        value["rejects"] = rows
        lines += [
            f"reject [{row['job']}] {row['uri']}: {row['reason']}: {row['detail']}" for row in rows
        ]
    elif tables["rejects"]:
        lines.append("'taistore show --rejects' lists what was set aside, and why")
    return out.result(value, "\n".join(lines))
