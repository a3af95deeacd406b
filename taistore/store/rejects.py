"""What was set aside, and why: the one shape of a row of ``rejects``."""

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Reject:
    """An item that a job could not use.

    ``uri`` names it in the job and is the row's key with it: an image's address, a place in a
    file (:func:`line_of`, :func:`row_of`), a text's id, the key of a request. ``reason`` is a code
    that can be counted, ``detail`` a line for people that says what to do. ``writer`` is what
    wrote a text that did not come into the store, as in the column of ``texts``; None where it is
    about anything else.
    """

    uri: str
    reason: str
    detail: str
    writer: str | None = None


def listed_by(store_uri: str) -> str:
    """The command that lists what a store set aside, in quotes.

    >>> print(listed_by("my shop"))
    'taistore show --rejects --store \'my shop\''
    """
    return f"'taistore show --rejects --store {shlex.quote(store_uri)}'"


def line_of(path: str | Path, line: int) -> str:
    """The ``uri`` of a line of a file, counted from 1.

    >>> line_of("mine.txt", 3)
    'mine.txt:3'
    """
    return f"{path}:{line}"


def row_of(path: str | Path, row: int) -> str:
    """The ``uri`` of a row of a file of vectors, counted from 0.

    >>> row_of("vectors.parquet", 0)
    'vectors.parquet: row 0'
    """
    return f"{path}: row {row}"
