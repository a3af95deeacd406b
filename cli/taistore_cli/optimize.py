"""``taistore optimize``: compaction and indexes."""

from typing import Any

import click

from taistore_cli.opening import open_project
from taistore_cli.options import common_options, store_option
from taistore_cli.output import Output


@click.command()
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=7.0,
    show_default=True,
    help="Keep older versions of tables for this many days.",
)
@store_option
@common_options
def command(*, keep_days: float, store_uri: str, out: Output) -> dict[str, Any]:
    """Merge small fragments, refresh indexes, drop old versions of tables.

    Worth running after large jobs; safe beside running ones.

    \b
    Example:
      taistore optimize --keep-days 1
    """
    from dataclasses import asdict

    reports = open_project(store_uri, out).optimize(keep_days=keep_days)
    return out.result(
        {"tables": [asdict(report) for report in reports]},
        "\n".join(
            f"{report.table}: {report.rows:,} rows, fragments {report.fragments_before} -> "
            f"{report.fragments_after}, {report.bytes_removed / 2**20:,.1f} MiB freed"
            for report in reports
        ),
    )
