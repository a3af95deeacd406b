"""Generates the command reference: ``python -m taistore_cli.reference docs/cli.md``."""

import sys
from pathlib import Path

import click

from taistore_cli.commands import names
from taistore_cli.main import main

WIDTH = 100
HEADING = """# Command line

Generated from the commands themselves by `make docs`; a test fails when it drifts.

Exit codes: 0 success, 1 an error that you can mend (one line on stderr), 2 wrong usage,
130, 143 and 129 where SIGINT (Ctrl-C), SIGTERM or SIGHUP stopped it: the batch under way was
finished and kept, and a line says how to go on. A second signal stops at once.
"""


def reference() -> str:
    """The help of ``taistore`` and of every command, as Markdown."""
    sections = [HEADING, _section(main, "taistore", None)]
    with click.Context(main, info_name="taistore", **main.context_settings) as parent:
        for words in every_command():
            sections.append(_section(*_found(main, list(words), parent), title=" ".join(words)))
    return "\n".join(sections)


def every_command() -> list[tuple[str, ...]]:
    """The words of every command and of each group's commands, as ``taistore --help`` has them."""
    context = click.Context(main)
    found: list[tuple[str, ...]] = []
    for name in names():
        command = main.get_command(context, name)
        if not isinstance(command, click.Group):
            found.append((name,))
            continue
        # A group that does nothing by itself is told by its commands.
        found += [(name,)] if command.invoke_without_command else []
        found += [(name, inner) for inner in command.commands]
    return found


def _found(
    group: click.Group, words: list[str], parent: click.Context
) -> tuple[click.Command, str, click.Context]:
    """A command by its words, with the context of the group that holds it."""
    command = group.get_command(parent, words[0])
    assert command is not None, words
    if len(words) == 1:
        return command, words[0], parent
    assert isinstance(command, click.Group), words
    inner = click.Context(command, info_name=words[0], parent=parent, **main.context_settings)
    return _found(command, words[1:], inner)


def _section(
    command: click.Command, name: str, parent: click.Context | None, *, title: str = ""
) -> str:
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, **main.context_settings
    )
    heading = f"taistore {title}".strip()
    return f"## {heading}\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
