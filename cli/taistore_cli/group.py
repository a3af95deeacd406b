"""The command group: commands load when used, errors become one line and an exit code."""

import importlib
import io
import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from taistore.errors import TaistoreError
from taistore.printable import printable, printable_lines
from taistore.stopping import StopRequested, stop_on_signals
from taistore_cli.commands import grouped, module_name, names
from taistore_cli.flags import in_flags
from taistore_cli.sections import in_sections
from taistore_cli.usage import USER, no_such_command, option_before_command, usage_text


class TaistoreGroup(click.Group):
    """Loads each command from its own module and reports errors in one line.

    Exit codes: 0 success, 1 an error that the user can mend, 2 wrong usage, 128 and the signal's
    number where one stopped it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of a job."""
        return list(names())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command object of a module of this package, or None."""
        if cmd_name not in names():
            return None
        command: click.Command = importlib.import_module(module_name(cmd_name)).command
        return in_sections(command, cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; options that stand before their command are told where they belong."""
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            at = next((i for i, word in enumerate(given) if word in names()), None)
            if at is None:
                raise
            command = self.get_command(ctx, given[at])
            options = [name for p in command.params for name in p.opts] if command else []
            if error.option_name not in options:
                raise
            raise option_before_command(
                error.option_name, given[:at], given[at], given[at + 1 :], ctx
            ) from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is called; a name near to the one given is suggested."""
        if args[0] not in names():
            raise no_such_command(args[0], ctx, names())
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a list of commands for each group, without loading any of them."""
        for heading, commands in grouped().items():
            with formatter.section(heading):
                formatter.write_dl(list(commands.items()))

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
            click.echo(printable_lines(_told(error, arguments)), err=True, nl=False)
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
        name = next((argument for argument in arguments if argument in names()), "")
        return self.get_command(click.Context(self), name) or self


def _told(error: click.ClickException, arguments: Sequence[str]) -> str:
    # Where nothing was given the message is the whole help; older clicks have no class for that.
    if isinstance(error, click.UsageError) and not error.message.startswith("Usage: "):
        name = next((argument for argument in arguments if argument in names()), "")
        return usage_text(error, f"taistore {name}".strip())
    shown = io.StringIO()
    error.show(file=shown)
    return shown.getvalue()


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
    {"tag", "init", "labels", "generate-texts", "ingest-texts", "generate-images", "ingest-images"}
    | {"ingest-vectors", "reproduce"}
    | {"score", "export", "prune", "runs", "encoders", "optimize", "upgrade", "demo"}
)
"""Commands that do what is left when they are run again; a training names itself what it kept."""


def stopped(stop: StopRequested, arguments: Sequence[str]) -> str:
    """What a signal left, and the command that goes on; user names in URLs are left out."""
    name = next((argument for argument in arguments if argument in names()), "")
    kept = stop.kept or ("what is done is kept" if name in KEEPING else "")
    command = shlex.join(["taistore", *(stop.go_on or arguments)])
    after = f" after {stop.done}" if stop.done else ""
    if not kept:
        return f"{stop}{after}: nothing was kept; to run it again: {USER.sub('', command)}"
    return f"{stop}{after}: {kept}; to go on: {USER.sub('', command)}"


def _one_line(message: str) -> str:
    return printable(" ".join(message.split()))[:1000]


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"taistore: {_one_line(message)}", err=True)
    sys.exit(code)
