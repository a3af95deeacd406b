"""``taistore encoders``: the encoders of a store, and removing one with its vectors."""

from typing import TYPE_CHECKING, Any

import click

from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import common_options, options_after, store_option
from taistore_cli.output import Output

if TYPE_CHECKING:
    from taistore.store.writes.encoder_removal import StoredEncoder


@click.group(invoke_without_command=True)
@store_option
@common_options
@click.pass_context
def command(context: click.Context, *, store_uri: str, out: Output) -> dict[str, Any]:
    """List the encoders whose vectors a store holds.

    \b
    Example:
      taistore encoders
      taistore encoders rm vectors:clip-b32
    """
    if options_after(context):
        return {}
    found = open_project(store_uri, out).encoders()
    lines = [f"{one.info.spec}  {_told(one)}" for one in found]
    return out.result(
        {"encoders": [_row(one) for one in found]},
        "\n".join(lines) or "no encoders yet: 'taistore generate-texts' uses one",
    )


@command.command()
@click.argument("encoder", metavar="ENCODER")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Also where finished runs need it, which then stay.")
@store_option
@common_options
def rm(*, encoder: str, yes: bool, force: bool, store_uri: str, out: Output) -> dict[str, Any]:
    """Remove ENCODER from a store, with its vectors; it asks before.

    ENCODER is a spec, the name of imported vectors, or an encoder's id. Texts, images and labels
    stay. With --json it removes only where --yes is given.

    \b
    Example:
      taistore encoders rm vectors:clip-b32 --yes
    """
    project = open_project(store_uri, out)
    removal = project.remove_encoder(encoder, apply=yes, force=force)
    found = removal.encoder
    if not yes and out.ask(f"remove {found.info.spec}: {_told(found)}?"):
        removal = project.remove_encoder(found.info.encoder_id, apply=True, force=force)
    done = "removed" if removal.applied else "would go"
    lines = [f"encoder {found.info.spec} {done}: {_told(found)}"]
    if removal.applied and found.runs:
        lines.append(f"without their encoder: {', '.join(found.runs)}")
    if not removal.applied:
        lines.append("nothing was removed: --yes does it without asking")
    return out.result({**_row(found), "applied": removal.applied}, "\n".join(lines))


def _row(found: "StoredEncoder") -> dict[str, Any]:
    return {
        "encoder_id": found.info.encoder_id,
        "spec": found.info.spec,
        "dim": found.info.dim,
        "rows": dict(found.rows),
        "runs": list(found.runs),
        "default": found.default,
        "going": found.going,
    }


def _told(found: "StoredEncoder") -> str:
    kinds = [
        f"{count:,} {kind.replace('_', ' ')}"
        for kind, count in found.rows.items()
        if count or not kind.startswith("synthetic")
    ]
    runs = counted(len(found.runs), "run")
    told = f"{found.info.dim} dimensions; {', '.join(kinds)}; needed by {runs}"
    told += "; the store's default" if found.default else ""
    return told + ("; its removal was stopped: 'encoders rm' ends it" if found.going else "")
