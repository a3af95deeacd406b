"""``taistore verify``: what is wrong in a store, and what mends it."""

from dataclasses import asdict
from typing import Any

import click

from taistore.printable import counted
from taistore_cli.flags import in_flags
from taistore_cli.options import at_this_store, common_options, store_option
from taistore_cli.output import Output


@click.command()
@click.option(
    "--repair",
    is_flag=True,
    help="Mend what loses nothing: repeated rows, useless vectors, leftovers of killed jobs.",
)
@click.option(
    "--restore",
    multiple=True,
    metavar="TABLE",
    help="Lead a damaged table back to its last whole version; later rows are lost. Repeatable.",
)
@store_option
@common_options
def command(
    *, repair: bool, restore: tuple[str, ...], store_uri: str, out: Output
) -> dict[str, Any]:
    """Read all of a store, and say what is wrong and what mends it.

    Looks at every file and row, at runs and their checkpoints. Safe beside running jobs: what is
    younger than an hour may be theirs and stays. Exit code 1 where an error is left.

    \b
    Example:
      taistore verify --store ./taistore-store --repair
    """
    from taistore.project import Project

    found = Project.verify(store_uri, repair=repair, restore=restore, progress=out.progress)
    context = click.get_current_context()
    lines = []
    for one in found.findings:
        state = "repaired" if one.repaired else one.severity
        remedy = at_this_store(in_flags(one.remedy, context.command), store_uri)
        lines.append(f"{state} [{one.code}] {one.table}: {one.what}: {remedy}")
    errors = sum(not one.repaired and one.severity == "error" for one in found.findings)
    lines.append(
        f"{found.store}: {counted(len(found.tables), 'table')}, "
        f"{counted(sum(found.tables.values()), 'row')} read, "
        + (counted(errors, "error") if errors else "sound")
    )
    value = out.result({**asdict(found), "sound": found.sound}, "\n".join(lines))
    if not found.sound:
        context.exit(1)
    return value
