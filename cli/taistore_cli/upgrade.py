"""``taistore upgrade``: an older store for this taistore."""

from dataclasses import asdict
from typing import Any

import click

from taistore_cli.options import common_options, store_option
from taistore_cli.output import Output


@click.command()
@store_option
@common_options
def command(*, store_uri: str, out: Output) -> dict[str, Any]:
    """Bring a store that an older taistore made up to date; nothing is encoded again.

    Run it while no other job uses the store. A killed upgrade goes on when it is run again.

    \b
    Example:
      taistore upgrade --store ./taistore-store
    """
    from taistore.project import Project

    done = Project.upgrade(store_uri, progress=out.progress)
    lines = [f"{store_uri}: version {done.before} -> {done.after}"]
    lines += [f"  {step}" for step in done.steps]
    if not done.steps:
        lines = [f"{store_uri}: version {done.after}, up to date"]
    return out.result(asdict(done), "\n".join(lines))
