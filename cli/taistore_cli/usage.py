"""Wrong usage in two lines: what is wrong and what to write instead, and where the help is."""

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

USER = re.compile(r"(?<=://)[^/@\s]*@")
"""The user name and password in a URL, which no message repeats."""

OF_PHOTOS = ("photos", "path")
"""Arguments that are one folder or manifest of photos."""


def usage_text(error: click.UsageError, called: str) -> str:
    """The error in one line, and the command that shows the help in another.

    ``called`` is the command where the error does not know it, such as ``taistore tag``.
    """
    message = error.format_message().strip().rstrip(".")
    if isinstance(error, click.NoSuchOption):
        message = _no_such_option(error)
    elif message[1:2].islower():
        message = message[0].lower() + message[1:]
    path = called if error.ctx is None else error.ctx.command_path
    return USER.sub("", f"taistore: {' '.join(message.split())}\ntry '{path} --help'\n")


def meant(given: str, there: Iterable[str]) -> str:
    """``: did you mean 'init'?``, or nothing where no name is near.

    >>> meant("inti", ["init", "train"])
    ": did you mean 'init'?"
    """
    near = difflib.get_close_matches(given, list(there), n=2, cutoff=0.7)
    return f": did you mean {' or '.join(map(repr, near))}?" if near else ""


def no_such_command(name: str, context: click.Context, there: Iterable[str]) -> click.UsageError:
    """The error about a command that does not exist."""
    return click.UsageError(f"no such command {name!r}{meant(name, there)}", context)


def option_before_command(
    option: str, before: Sequence[str], command: str, after: Sequence[str], context: click.Context
) -> click.UsageError:
    """The error about options that were given before the command that they are for."""
    line = shlex.join([*context.command_path.split(), command, *after, *before])
    return click.UsageError(f"give {option} after the command: {line}", context)


def too_many(command: click.Command, context: click.Context, args: list[str]) -> str | None:
    """What is wrong with arguments that the command has no place for; None where it has all."""
    values, left, _ = command.make_parser(context).parse_args(list(args))
    if not left:
        return None
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    photos = next((p for p in arguments if p.name in OF_PHOTOS), None)
    text = next((p for p in arguments if p.name == "text"), None)
    if text is not None:
        words = [str(values["text"]), *map(str, left)]
        return f"the text is one argument: put it in quotes: {shlex.quote(' '.join(words))}"
    if photos is None or not all(Path(value).is_file() for value in left):
        more = f" and {len(left) - 1:,} more" if left[1:] else ""
        return f"there is no place for the argument {left[0]!r}{more}"
    # The shell made them of a pattern such as photos/*.jpg.
    given = [value for p in arguments if isinstance(value := values.get(p.name or ""), str)]
    files = [path for path in map(Path, (*given, *left)) if path.is_file()]
    folders = {path.parent for path in files}
    where = f", {shlex.quote(f'{folders.pop()}/')}" if len(folders) == 1 else " that they are in"
    name = photos.make_metavar(context).strip("[]")
    return (
        f"{name} is one folder or manifest, not {len(files):,} files: name the folder{where}, or "
        "a manifest that lists them"
    )


def _no_such_option(error: click.NoSuchOption) -> str:
    context = error.ctx
    there = (
        [name for parameter in context.command.get_params(context) for name in parameter.opts]
        if context is not None
        else []
    )
    near = [name for name in there if name.startswith("--")]
    return f"no such option {error.option_name!r}{meant(error.option_name, near)}"
