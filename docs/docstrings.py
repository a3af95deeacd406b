"""Docstrings as the site shows them: their roles become links, their examples become code blocks.

The docstrings are prose with roles such as ``:class:`~taistore.labels.LabelSet```, which Markdown
does not know. A name that has no place on the site is shown as code.
"""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|data|attr|mod|exc):`(~?)([\w.]+)`", re.ASCII)


class Docstrings(griffe.Extension):
    """Rewrites each docstring once its package has been read."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        """Go through everything that the package defines."""
        _rewrite(pkg)


def _rewrite(thing: griffe.Object) -> None:
    if thing.docstring:
        text = _ROLE.sub(lambda role: _link(thing, role[1], role[2]), thing.docstring.value)
        thing.docstring.value = _fenced(text)
    for member in thing.members.values():
        if isinstance(member, griffe.Object):
            _rewrite(member)


def _link(thing: griffe.Object, short: str, name: str) -> str:
    """A link where the name has a place on the site; ``~`` shows its last part alone."""
    try:
        target = thing.resolve(name)
    except griffe.NameResolutionError:
        target = name
    shown = name.rpartition(".")[2] if short else name
    return f'<autoref optional identifier="{target}">`{shown}`</autoref>'


def _fenced(text: str) -> str:
    """Each run of lines from ``>>>`` to the next empty one as a code block."""
    lines: list[str] = []
    inside = False
    for line in [*text.splitlines(), ""]:
        if not inside and line.startswith(">>> "):
            lines.append("```pycon")
            inside = True
        elif inside and not line:
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join(lines).rstrip("\n")
