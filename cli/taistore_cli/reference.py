"""Generates the command reference: ``python -m taistore_cli.reference docs/cli.md``."""

import sys
from pathlib import Path

import click

from taistore_cli.group import COMMANDS
from taistore_cli.main import main

WIDTH = 100
HEADING = """# Command line

Generated from the commands themselves by `make docs`; a test fails when it drifts.

Exit codes: 0 success, 1 an error that you can mend (one line on stderr), 2 wrong usage,
130 interrupted.
"""


def reference() -> str:
    """The help of ``taistore`` and of every command, as Markdown."""
    sections = [HEADING, _section(main, "taistore", None)]
    with click.Context(main, info_name="taistore", **main.context_settings) as parent:
        for name in COMMANDS:
            command = main.get_command(parent, name)
            assert command is not None, name
            sections.append(_section(command, name, parent))
    return "\n".join(sections)


def _section(command: click.Command, name: str, parent: click.Context | None) -> str:
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=WIDTH, **main.context_settings
    )
    title = name if parent is None else f"taistore {name}"
    return f"## {title}\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
