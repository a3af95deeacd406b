"""``taistore labels``: the labels of a store, and changing them while photos stay."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from taistore.printable import counted
from taistore_cli.opening import open_project
from taistore_cli.options import at_store, common_options, options_after, store_option
from taistore_cli.output import Output

_SHOWN = 5
"""Labels that are named at once."""


@click.group(invoke_without_command=True)
@store_option
@common_options
@click.pass_context
def command(context: click.Context, *, store_uri: str, out: Output) -> dict[str, Any]:
    """List the labels of a store, or change them: no photo is encoded again.

    A run keeps the labels that it was trained for. After a change write captions for what is new
    (taistore generate-texts) and train (taistore train --from RUN keeps what a run has learnt).

    \b
    Example:
      taistore labels
      taistore labels add more.txt
      taistore labels rename sofa couch
    """
    return {} if options_after(context) else _listed(store_uri, out)


@command.command(name="list")
@store_option
@common_options
def list_labels(*, store_uri: str, out: Output) -> dict[str, Any]:
    """List the labels of a store: those in use, then those that are not.

    \b
    Example:
      taistore labels list --json
    """
    return _listed(store_uri, out)


@command.command()
@click.argument("given", metavar="FILE|NAME...", nargs=-1, required=True)
@store_option
@common_options
def add(*, given: tuple[str, ...], store_uri: str, out: Output) -> dict[str, Any]:
    """Add the labels of FILE, or of these NAMEs, that the store lacks; others stay as they are.

    FILE is as for taistore init (one that ends in .txt or .csv, or is there). Retired labels in it
    are used again. What was said to be a photo's complete labels says nothing of a label that is
    added later.

    \b
    Example:
      taistore labels add more.txt
      taistore labels add giraffe zebra
    """
    project = open_project(store_uri, out)
    found = project.add_labels(_given(given))
    parts = [
        f"{len(keys):,} {what} ({', '.join(keys[:_SHOWN])}{', ...' * (len(keys) > _SHOWN)})"
        for keys, what in (
            (found.added, "added"),
            (found.restored, "in use again"),
            (found.changed, "with other synonyms"),
            (found.there, "there already"),
        )
        if keys
    ]
    new = found.added or found.restored
    return out.result(
        {
            "added": list(found.added),
            "restored": list(found.restored),
            "changed": list(found.changed),
            "there": list(found.there),
            "labels": len(project.labels),
        },
        f"{project.uri}: {', '.join(parts)}; {counted(len(project.labels), 'label')}"
        + (f"\n{_following(store_uri)}" if new else ""),
    )


@command.command()
@click.argument("old", metavar="LABEL")
@click.argument("new", metavar="NAME")
@click.option(
    "--rewrite",
    is_flag=True,
    help="Remove the captions of the label, so that generate-texts writes them with the new name.",
)
@store_option
@common_options
def rename(*, old: str, new: str, rewrite: bool, store_uri: str, out: Output) -> dict[str, Any]:
    """Give LABEL (a key, a name or a synonym) the name NAME.

    Its key stays, and so does all that is known of photos. The old name becomes a synonym, and its
    captions stay unless --rewrite.

    \b
    Example:
      taistore labels rename girafe giraffe --rewrite
    """
    found = open_project(store_uri, out).rename_label(old, new, rewrite=rewrite)
    gone = f"; {counted(found.captions_removed, 'caption')} removed" if rewrite else ""
    return out.result(
        {
            "key": found.label.key,
            "name": found.label.name,
            "synonyms": list(found.label.synonyms),
            "captions_removed": found.captions_removed,
        },
        f"label {found.label.key} is called {found.label.name} now{gone}\n{_following(store_uri)}",
    )


@command.command()
@click.argument("old", metavar="LABEL...", nargs=-1, required=True)
@click.option("--into", required=True, metavar="LABEL", help="The label that they become part of.")
@store_option
@common_options
def merge(*, old: tuple[str, ...], into: str, store_uri: str, out: Output) -> dict[str, Any]:
    """Make LABELs part of another one: a photo that shows one of them shows that one.

    Their names become its synonyms, their captions its captions. A photo is known not to show it
    where it was known before not to show it.

    \b
    Example:
      taistore labels merge couch settee --into sofa
    """
    label = open_project(store_uri, out).merge_labels(old, into)
    return out.result(
        {"key": label.key, "name": label.name, "synonyms": list(label.synonyms)},
        f"label {label.key} is also called {', '.join(label.synonyms)} now\n"
        f"{_following(store_uri)}",
    )


@command.command()
@click.argument("names", metavar="LABEL...", nargs=-1, required=True)
@store_option
@common_options
def retire(*, names: tuple[str, ...], store_uri: str, out: Output) -> dict[str, Any]:
    """Use LABELs no longer: new captions, trainings and tags leave them out.

    What is known of photos stays, and taistore labels add brings a label back. A run that was
    trained for it still gives it.

    \b
    Example:
      taistore labels retire tie
    """
    project = open_project(store_uri, out)
    retired = project.retire_labels(names)
    return out.result(
        {"retired": [label.key for label in retired], "labels": len(project.labels)},
        f"retired: {', '.join(label.key for label in retired)}; "
        f"{counted(len(project.labels), 'label')} left\n"
        f"{_following(store_uri)}",
    )


def _given(given: Sequence[str]) -> Path | list[str]:
    """A label file where there is one argument that is one, else names."""
    files = [name for name in given if Path(name).suffix.lower() in (".txt", ".csv")]
    if given[1:] and files:
        raise click.UsageError(
            f"{files[0]!r} is a file and stands among other arguments: give one file, or names"
        )
    return Path(given[0]) if files or (not given[1:] and Path(given[0]).is_file()) else list(given)


def _following(store_uri: str) -> str:
    """What is mostly done after a change: captions for it, then a training that knows it."""
    texts, train = (
        at_store(command, store_uri) for command in ("generate-texts", "train --from latest")
    )
    return f"next: {texts}, then {train}"


def _listed(store_uri: str, out: Output) -> dict[str, Any]:
    rows = open_project(store_uri, out).all_labels()
    lines = []
    for row in sorted(rows, key=lambda row: row.retired):
        label = row.label
        state = ""
        if row.merged_into is not None:
            state = f"  part of {rows[row.merged_into].label.key}"
        elif row.retired:
            state = "  retired"
        name = "" if label.name == label.key else f"  {label.name}"
        synonyms = f"  ({', '.join(label.synonyms)})" if label.synonyms else ""
        lines.append(f"{label.key}{name}{synonyms}{state}")
    return out.result({"labels": [row.to_row() for row in rows]}, "\n".join(lines))
