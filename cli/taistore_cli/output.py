"""What commands print: one JSON object or lines for people on stdout, progress on stderr."""

import contextlib
import sys
from typing import Any

import click

from taistore.printable import printable_json, printable_lines
from taistore.progress import Progress, no_progress, stderr_progress, stoppable


class Output:
    """Where a command's result and progress go."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self.as_json = as_json
        self._quiet = quiet
        self.progress: Progress = stoppable(no_progress if quiet or as_json else stderr_progress)

    def result(self, value: dict[str, Any], text: str) -> dict[str, Any]:
        """Print the result once: ``value`` as one JSON object with --json, else ``text``.

        Returns ``value``, so that a command which runs commands can use their results.
        """
        click.echo(printable_json(value) if self.as_json else printable_lines(text))
        return value

    def note(self, message: str) -> None:
        """A line for people, on stderr; silent with --json."""
        if not self.as_json:
            click.echo(printable_lines(message), err=True)

    def ask(self, question: str) -> bool:
        """Whether the reader says yes; nobody does with --json, or where input has ended."""
        if self.as_json:
            return False
        try:
            return click.confirm(printable_lines(question), err=True)
        except click.Abort:
            click.echo(err=True)
            return False

    def flags(self) -> list[str]:
        """The flags that make a nested command show as much as this one."""
        return ["--quiet"] if self._quiet or self.as_json else []

    def nested(self) -> contextlib.AbstractContextManager[object]:
        """While a nested command runs: with --json its output must not join ours on stdout."""
        return contextlib.redirect_stdout(sys.stderr) if self.as_json else contextlib.nullcontext()
