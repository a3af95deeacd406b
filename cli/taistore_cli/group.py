"""The command group: commands load when used, errors become one line and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from taistore.errors import TaistoreError

COMMANDS = (
    "init",
    "generate-texts",
    "ingest-texts",
    "ingest-images",
    "ingest-vectors",
    "train",
    "evaluate",
    "score",
    "show",
    "optimize",
    "doctor",
    "demo",
)
"""Every command, in the order in which a job uses them; ``a-b`` lives in ``a_b.py``."""


class TaistoreGroup(click.Group):
    """Loads each command from its own module and reports errors in one line.

    Exit codes: 0 success, 1 an error that the user can mend, 2 wrong usage, 130 interrupted.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a job."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command object of a module of this package, or None."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"taistore_cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def main(self, args: Sequence[str] | None = None, *more: Any, **extra: Any) -> Any:
        """Run, turning every error that a user can meet into one line on stderr."""
        arguments = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in arguments
        try:
            return super().main(arguments, *more, **extra)
        except TaistoreError as error:
            if debug:
                raise
            return _fail(str(error), 1)
        except KeyboardInterrupt:
            return _fail("interrupted: run the same command again to go on where it stopped", 130)
        except BrokenPipeError:
            # The reader of our output has gone; point stdout elsewhere so that exit stays silent.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except MemoryError:
            return _fail("out of memory: use a smaller --batch-size or fewer --workers", 1)
        except Exception as error:
            if debug:
                raise
            return _fail(
                f"unexpected {type(error).__name__}: {_one_line(str(error))}: run it again with "
                "--debug for the traceback and report it",
                1,
            )


def _one_line(message: str) -> str:
    return " ".join(message.split())[:500]


def _fail(message: str, code: int) -> None:
    click.echo(f"taistore: {_one_line(message)}", err=True)
    sys.exit(code)
