"""The command group: commands load when used, errors become one line and an exit code."""

import importlib
import io
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from taistore.errors import TaistoreError
from taistore.printable import printable, printable_lines
from taistore.stopping import StopRequested, stop_on_signals
from taistore_cli.flags import in_flags

COMMANDS = (
    "tag",
    "init",
    "generate-texts",
    "ingest-texts",
    "texts audit",
    "generate-images",
    "synthetic audit",
    "ingest-images",
    "ingest-vectors",
    "centroids",
    "train",
    "ensemble",
    "evaluate",
    "calibrate",
    "compare",
    "reproduce",
    "score",
    "export-scores",
    "show",
    "prune",
    "runs",
    "runs rm",
    "encoders",
    "encoders rm",
    "optimize",
    "verify",
    "upgrade",
    "convert-checkpoint",
    "doctor",
    "demo",
)
"""Every command, in the order in which a job uses them; ``a-b`` lives in ``a_b.py``, ``a b`` is
one of the group in ``a.py``."""

NAMES = tuple(dict.fromkeys(name.split()[0] for name in COMMANDS))
"""Commands and groups of them."""


class TaistoreGroup(click.Group):
    """Loads each command from its own module and reports errors in one line.

    Exit codes: 0 success, 1 an error that the user can mend, 2 wrong usage, 128 and the signal's
    number where one stopped it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a job."""
        return list(NAMES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command object of a module of this package, or None."""
        if cmd_name not in NAMES:
            return None
        module = importlib.import_module(f"taistore_cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command; standalone, every error a user can meet is one line and an exit code.

        With ``standalone_mode=False`` the command's result is returned and errors propagate.
        """
        arguments = list(sys.argv[1:] if args is None else args)

        def run() -> Any:
            return super(TaistoreGroup, self).main(
                arguments, prog_name, complete_var, standalone_mode=False, **extra
            )

        if not standalone_mode:
            return run()
        try:
            with stop_on_signals():
                result = run()
        except StopRequested as stop:
            _fail(stopped(stop, arguments), 128 + stop.number)
        except click.ClickException as error:
            usage = io.StringIO()
            error.show(file=usage)
            click.echo(printable_lines(usage.getvalue()), err=True, nl=False)
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            _fail("interrupted: what was done is kept; run it again to go on", 130)
        except BrokenPipeError:
            # The reader of our output has gone; point stdout elsewhere so that exit stays silent.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:
            if "--debug" in arguments:
                raise
            _fail(in_flags(_describe(error), self._invoked(arguments)), 1)
        sys.exit(result if isinstance(result, int) else 0)

    def _invoked(self, arguments: Sequence[str]) -> click.Command:
        """The command that the arguments name, else this group."""
        name = next((argument for argument in arguments if argument in NAMES), "")
        return self.get_command(click.Context(self), name) or self


def _describe(error: Exception) -> str:
    if isinstance(error, TaistoreError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory: use a smaller batch_size= or fewer workers="
    return (
        f"unexpected {type(error).__name__}: {error}: run it again with --debug for the "
        "traceback and report it"
    )


KEEPING = frozenset(
    {"tag", "init", "generate-texts", "ingest-texts", "generate-images", "ingest-images"}
    | {"ingest-vectors", "reproduce"}
    | {"score", "prune", "runs", "encoders", "optimize", "upgrade", "demo"}
)
"""Commands that do what is left when they are run again; a training names itself what it kept."""

_USER = re.compile(r"(?<=://)[^/@\s]*@")


def stopped(stop: StopRequested, arguments: Sequence[str]) -> str:
    """What a signal left, and the command that goes on; user names in URLs are left out."""
    name = next((argument for argument in arguments if argument in NAMES), "")
    kept = stop.kept or ("what is done is kept" if name in KEEPING else "")
    command = shlex.join(["taistore", *(stop.go_on or arguments)])
    after = f" after {stop.done}" if stop.done else ""
    if not kept:
        return f"{stop}{after}: nothing was kept; to run it again: {_USER.sub('', command)}"
    return f"{stop}{after}: {kept}; to go on: {_USER.sub('', command)}"


def _one_line(message: str) -> str:
    return printable(" ".join(message.split()))[:1000]


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"taistore: {_one_line(message)}", err=True)
    sys.exit(code)
