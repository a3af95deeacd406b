"""Nesting of JSON files of any size, refused before a parser sees it.

ijson names the place of each value by the keys that lead there: what is nested 40,000 deep would
take 4 GB.
"""

import re
from typing import BinaryIO

import numpy as np

from taistore.errors import ManifestError
from taistore.record_files import MAX_DEPTH

_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_PASSED_OVER = bytes(set(range(256)) - set(b'"[]{}'))
_BLOCK = 2**20


class ShallowJson:
    """A JSON file to be read by a parser, in blocks.

    ``read`` raises :class:`ManifestError` that names the file ``name`` and a place in it where
    brackets are nested deeper than :data:`~taistore.record_files.MAX_DEPTH` levels.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self._depth = 0
        self._in_string = self._escaping = False

    def read(self, size: int = _BLOCK) -> bytes:
        """The next bytes, none at the end."""
        data = self._file.read(size)
        if self._deepest(data) > MAX_DEPTH:
            raise ManifestError(
                f"{self._name}: nested deeper than {MAX_DEPTH} levels before byte "
                f"{self._file.tell():,}: flatten it"
            )
        return data

    def _deepest(self, data: bytes) -> int:
        """The greatest depth within a block; what it ends in is kept for the next one."""
        if self._escaping:
            data, self._escaping = data[1:], not data
        if b"\\" in data:
            # What an escape hides is a character of a string, a quotation mark too.
            data = _ESCAPED.sub(b"", data)
            self._escaping = data.endswith(b"\\")
        marks = np.frombuffer(data.translate(None, _PASSED_OVER), np.uint8)
        quotes = marks == ord('"')
        inside = (np.cumsum(quotes) + self._in_string) % 2 == 1
        signs = np.where((marks == ord("[")) | (marks == ord("{")), 1, -1)
        depths = self._depth + np.cumsum(np.where(quotes | inside, 0, signs))
        deepest = int(depths.max(initial=self._depth))
        if len(marks):
            self._depth, self._in_string = int(depths[-1]), bool(inside[-1])
        return deepest
