"""``taistore runs``: the runs of a store, and removing those that are not needed."""

from typing import TYPE_CHECKING, Any

import click

from taistore_cli.opening import open_project
from taistore_cli.options import at_this_store, common_options, options_after, store_option
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.run import Run


@click.group(invoke_without_command=True)
@store_option
@common_options
@click.pass_context
def command(context: click.Context, *, store_uri: str, out: Output) -> dict[str, Any]:
    """List the runs of a store, oldest first.

    A run whose training has ended without finishing is stopped, however it ended: go on with it by
    taistore train --resume RUN. Until then it keeps the versions of tables that it reads.

    \b
    Example:
      taistore runs
      taistore runs rm zsl-20260101-120000-abc123
    """
    if options_after(context):
        return {}
    runs = open_project(store_uri, out).runs()
    lines = [
        f"{run.run_id}  {_made_as(run)}, {run.state}, begun {run.created:%F %R}" for run in runs
    ]
    return out.result(
        {"runs": [run.to_json() for run in runs]},
        "\n".join(lines) or at_this_store("no runs yet: 'taistore train' makes one", store_uri),
    )


def _made_as(run: "Run") -> str:
    """The task, and the method of a prompt learner."""
    return " ".join([run.task, *filter(None, [run.config.get("method")])])


@command.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True)
@store_option
@common_options
def rm(*, run_ids: tuple[str, ...], store_uri: str, out: Output) -> dict[str, Any]:
    """Remove RUNs, their files too; it does not ask.

    A run that is being trained, or that an ensemble is made of, stays. Files in a run's folder that
    taistore did not put there stay too.

    \b
    Example:
      taistore runs rm zsl-20260101-120000-abc123
    """
    removed = open_project(store_uri, out).remove_runs(run_ids)
    lines = []
    for run in removed:
        left = f"; {run.folder_left} holds other files" if run.folder_left else ""
        lines.append(f"run {run.run_id} removed, {run.bytes_freed / 2**20:,.1f} MiB freed{left}")
    rows = [
        {
            "run_id": run.run_id,
            "bytes_freed": run.bytes_freed,
            "folder_left": None if run.folder_left is None else str(run.folder_left),
        }
        for run in removed
    ]
    return out.result({"removed": rows}, "\n".join(lines))
