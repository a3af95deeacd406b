"""Labels from lines of text: what is clearly no part of a name is left out, the rest is asked."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taistore.errors import LabelError
from taistore.labels import Label
from taistore.printable import counted
from taistore.progress import Note

_BULLET = re.compile(r"[-*\u2022\u2023\u25e6\u2043\u2013\u2014]\s+(?=\S)")
_NUMBER = re.compile(r"\(?(\d{1,6})[.)]\s+(?=\S)")
_PARENTHESES = re.compile(r"\([^()]*\)")
_COMMA = re.compile(r"(?<!\d),|,(?!\d)|[\uff0c\u3001]")
_QUOTES = (
    *(('"', '"'), ("'", "'"), ("\u201c", "\u201d")),
    *(("\u201e", "\u201c"), ("\u2018", "\u2019"), ("\u00ab", "\u00bb")),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is no comment: its number, its text, and whether that stood in quotes."""

    number: int
    text: str
    quoted: bool = False


def text_labels(path: object, text: str, note: Note) -> Iterator[tuple[int, Label]]:
    """Number and label of each line; a line that is ``#`` or begins with ``# `` is a comment.

    Quotes around a name are left out, and bullets and running numbers where all lines have them;
    ``note`` is told so. Raises :class:`LabelError` about a line that may be something else than a
    label: a list, a row of a table, one of a few with a bullet or a number.
    """
    lines = [
        _unquoted(Line(number, raw.strip()))
        for number, raw in enumerate(text.split("\n"), start=1)
        if _holds_a_label(raw.strip())
    ]
    bare = [line.text for line in lines if not line.quoted]
    for pattern, what in ((_BULLET, "bullets"), (_NUMBER, "numbers")):
        if bare and _all_have(pattern, bare):
            lines = [
                line if line.quoted else _unquoted(Line(line.number, pattern.sub("", line.text, 1)))
                for line in lines
            ]
            note(f"{path}: read without the {what} before the labels")
    _ask(path, lines)
    needless = sum(line.quoted and _question(line.text) is None for line in lines)
    if needless:
        note(f"{path}: read without the quotes around labels ({counted(needless, 'line')})")
    for line in lines:
        name = " ".join(line.text.split())
        yield line.number, Label(name, name)


def _holds_a_label(line: str) -> bool:
    return bool(line) and line != "#" and not line.startswith("# ")


def _unquoted(line: Line) -> Line:
    for opening, closing in _QUOTES:
        if len(line.text) > 2 and line.text[0] == opening and line.text[-1] == closing:
            inner = line.text[1:-1]
            if closing in inner.replace(2 * closing, "") or not inner.strip():
                continue
            return Line(line.number, inner.replace(2 * closing, closing), quoted=True)
    return line


def _all_have(pattern: re.Pattern[str], lines: Sequence[str]) -> bool:
    found = [pattern.match(line) for line in lines]
    if pattern is _BULLET:
        return all(found)
    numbers = [int(match[1]) for match in found if match]
    return len(numbers) == len(lines) and numbers in (
        list(range(len(lines))),
        list(range(1, len(lines) + 1)),
    )


def _ask(path: object, lines: Sequence[Line]) -> None:
    """Raise about the first line that may be no label, and say how many there are."""
    asked = [
        (line.number, question)
        for line in lines
        if not line.quoted and (question := _question(line.text)) is not None
    ]
    if asked:
        number, question = asked[0]
        more = f" (the first of {len(asked):,} such lines)" if asked[1:] else ""
        raise LabelError(f"{path}: line {number}: {question}{more}")


def _question(line: str) -> str | None:
    """What to ask about a line that may be no label; None where it is one."""
    shown = f"{line[:60]}..." if len(line) > 60 else line
    is_one = "or put it in double quotes to say that it is"
    if "\t" in line:
        return f"{shown!r} has columns: save a table as .csv with the header key,name,synonyms"
    if line.startswith("//"):
        return f"is {shown!r} a label? begin a comment with '# ', {is_one} one"
    if line.startswith('"'):
        return f"the quotes of {shown!r} do not fit: a label is in one pair of quotes, or in none"
    for pattern, what in ((_BULLET, "bullet"), (_NUMBER, "number")):
        if pattern.match(line):
            return f"is {shown!r} a label? leave the {what} out, {is_one} one"
    outside = _PARENTHESES.sub("", line)
    if ";" in outside:
        return (
            f"is {shown!r} one label? synonyms need a .csv file with the header key,name,synonyms; "
            f"put one label on each line, {is_one} one"
        )
    if _COMMA.search(outside):
        return f"is {shown!r} one label? put one label on each line, {is_one} one"
    return None
