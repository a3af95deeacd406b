"""Error messages of the library in the words of the command line.

The library names its parameters as Python does, ``max_rejects=`` or ``encoder=packaged``; a reader
of the command line knows them as ``--max-rejects`` and ``--encoder packaged``.
"""

import re
from collections.abc import Iterator

import click

ALIASES = {
    **{"layout": "format", "photos": "images", "path": "store"},
    **{"scores": "with", "count": "texts", "from_run": "from"},
}
"""Parameters whose options have another name."""

_PARAMETER = re.compile(r"(?<![\w./'\"-])([a-z][a-z_]*)=([\w@/*-]+(?:[.:][\w@/-]+)*)?(?![\w=])")


def in_flags(message: str, command: click.Command) -> str:
    """``message`` with every parameter that is an option of ``command`` named as that option."""
    flags = set(_flags(command))

    def named(found: re.Match[str]) -> str:
        name, value = found.groups()
        for wanted in (name, ALIASES.get(name, name)):
            flag = "--" + wanted.replace("_", "-")
            if flag in flags:
                return f"{flag} {value}" if value else flag
        return found[0]

    return _PARAMETER.sub(named, message)


def _flags(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _flags(inner)
