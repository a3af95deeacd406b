"""``taistore show``: what a store holds."""

from dataclasses import asdict
from typing import Any

import click

from taistore.printable import printable
from taistore_cli.opening import open_project
from taistore_cli.options import at_store, common_options, store_option
from taistore_cli.output import Output


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
    project = open_project(store_uri, out)
    held = project.contents()
    encoders = [{**asdict(info), **counts} for info, counts in held.encoders]
    runs = project.runs()
    value: dict[str, Any] = {
        "store": project.uri,
        "default_encoder": project.store.default_encoder,
        "tables": dict(held.tables),
        "encoders": encoders,
        "runs": [run.to_json() for run in runs],
    }
    lines = [f"{project.uri}  (default encoder {project.store.default_encoder})"]
    lines += [f"  {kind:<13} {count:>12,}" for kind, count in held.tables.items()]
    for row in encoders:
        lines.append(
            f"encoder {row['spec']}: {row['dim']} dimensions, {row['text_vectors']:,} text, "
            f"{row['token_vectors']:,} token, {row['image_vectors']:,} image, "
            f"{row['region_vectors']:,} region vectors"
            + (
                f"; {row['synthetic_vectors']:,} synthetic images, "
                f"{row['synthetic_regions']:,} with regions"
                if row["synthetic_vectors"]
                else ""
            )
        )
    lines += [f"run {r.run_id}: {r.task}, {r.state}, {r.created:%F %R}" for r in runs]
    if rejects:
        rows = project.rejects().to_dicts()
        value["rejects"] = rows
        lines += [
            printable(f"reject [{row['job']}] {row['uri']}: {row['reason']}: {row['detail']}")
            for row in rows
        ]
    elif held.tables["rejects"]:
        lines.append(f"'{at_store('show --rejects', store_uri)}' lists what was set aside, and why")
    return out.result(value, "\n".join(lines))
