"""``taistore optimize``: compaction and indexes."""

from typing import TYPE_CHECKING, Any

import click

from taistore.defaults import KEEP_DAYS
from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import common_options, store_option
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.store.maintenance import TableReport


@click.command()
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=KEEP_DAYS,
    help="Keep versions of tables that were the newest within so many days (what unfinished runs "
    "read stays).",
)
@store_option
@common_options
def command(*, keep_days: float, store_uri: str, out: Output) -> dict[str, Any]:
    """Merge small fragments, refresh indexes, drop old versions of tables.

    From 200,000 photos on it makes the index that find asks, which takes minutes once.

    Worth running after large jobs; safe beside running ones, but with --keep-days 0 no job may be
    reading the store. Where versions since the last training are gone, the next 'taistore tag' may
    train again.

    \b
    Example:
      taistore optimize --keep-days 0
    """
    from dataclasses import asdict

    reports = open_project(store_uri, out).optimize(keep_days=keep_days)
    return out.result(
        {"tables": [asdict(report) for report in reports]},
        "\n".join(map(_line, reports)),
    )


def _line(report: "TableReport") -> str:
    line = (
        f"{report.table}: {counted(report.rows, 'row')}, fragments {report.fragments_before} -> "
        f"{report.fragments_after}, {report.bytes_removed / 2**20:,.1f} MiB freed"
    )
    if not report.versions_kept:
        return line
    why = "newest within --keep-days"
    if report.kept_for_runs:
        why += f", or read by unfinished runs ({', '.join(report.kept_for_runs)})"
    return f"{line}; {report.versions_kept} older versions kept: {why}"
