"""Text from outside as a terminal may show it: nothing moves, colours or reorders what is read.

File names, labels and messages of other libraries can hold escape sequences, line ends, lone
surrogates and the marks that turn the direction of writing round. They are shown as escapes.
"""

import json
import re
from typing import Any

_LINE_ENDS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
"""Controls (C0, C1), line and paragraph separators, bidirectional and invisible formatting marks,
and lone surrogates. A joiner (U+200D) stays: families of emoji are made with it."""

_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4})")


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun in the form that it asks for; ``plural`` is with an s if not given.

    >>> counted(1, "image"), counted(1200, "image"), counted(0, "copy", "copies")
    ('1 image', '1,200 images', '0 copies')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def printable(text: str) -> str:
    """One line of plain text: line ends are spaces, other controls are escapes.

    >>> printable("a\\nb\\x1b[2J\\u202etxt.exe")
    'a b\\\\x1b[2J\\\\u202etxt.exe'
    """
    return _UNSAFE.sub(_escape, _LINE_ENDS.sub(" ", text))


def may_be_escaped(text: str) -> bool:
    """Whether a text may be what :func:`printable` made of another, to judge by its escapes.

    >>> may_be_escaped(printable("a\\x1b[2J")), may_be_escaped("a b")
    (True, False)
    """
    return _ESCAPE.search(text) is not None


def printable_lines(text: str) -> str:
    """As :func:`printable`, for text that is laid out in lines: line feeds stay."""
    return "\n".join(map(printable, text.split("\n")))


def printable_json(value: Any) -> str:
    """One line of JSON that reads back as ``value``, with its controls written as JSON escapes.

    What JSON does not know is written as text.
    """
    text = json.dumps(value, ensure_ascii=False, default=str)
    # Outside of its strings JSON has none of them.
    return _UNSAFE.sub(_json_escape, text)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"


def _json_escape(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1]
