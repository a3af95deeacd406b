"""``taistore show``: what a store holds."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from taistore.printable import printable
from taistore_cli.opening import open_project
from taistore_cli.options import at_store, common_options, device_option, store_option
from taistore_cli.output import Output
from taistore_cli.show_photo import photo_lines

if TYPE_CHECKING:
    from taistore.run import Run


@click.command()
@click.argument("photo", required=False)
@click.option(
    "--run", "run_id", metavar="RUN", help="Run that tags PHOTO; default: latest finished."
)
@click.option("--rejects", is_flag=True, help="List what was set aside, and why.")
@store_option
@device_option
@common_options
def command(
    *,
    photo: str | None,
    run_id: str | None,
    rejects: bool,
    store_uri: str,
    device: str,
    out: Output,
) -> dict[str, Any]:
    """Show tables, encoders and runs of a store, or all that it knows of PHOTO.

    PHOTO is a path or an image_id. Its tags come with what speaks for each: the score of the whole
    photo alone, of its best region, and the nearest captions that hold the label. A photo that the
    store does not have is encoded for this, and not stored.

    \b
    Example:
      taistore show --rejects
      taistore show photos/a.jpg
    """
    project = open_project(store_uri, out, device=device)
    if photo is not None:
        if rejects:
            raise click.UsageError("--rejects lists those of all photos: leave PHOTO or it out")
        report = project.photo(photo, run=run_id)
        return out.result(report.to_json(), "\n".join(photo_lines(report)))
    if run_id is not None:
        raise click.UsageError("--run tags PHOTO: give one, as in show a.jpg --run RUN")
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
    lines += [
        f"run {run.run_id}: {run.task}, {run.state}, {run.created:%F %R}{_remedy(run)}"
        for run in runs
    ]
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


def _remedy(run: "Run") -> str:
    """How to go on with a run that nobody trains any more, or to be rid of it."""
    status = run.status
    if status not in ("stopped", "failed"):
        return ""
    return (
        f": go on by 'taistore train --resume {run.run_id}', or remove it by 'taistore runs rm "
        f"{run.run_id}'"
    )
