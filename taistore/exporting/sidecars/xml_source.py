"""XML that somebody else wrote, changed in a few places: every other byte stays as it is.

A tree would be written anew, with other prefixes, quotes and line ends. Here the parser only says
where things are, and the bytes between stay. It is expat, of the standard library: a document type
declaration is refused, so that no entity is ever expanded and nothing is loaded.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

from taistore.exporting.set_aside import SetAsideError

MAX_BYTES = 2**23
"""A larger sidecar is left alone. Lightroom's with masks have some hundred KiB."""

MAX_ELEMENTS = 200_000
MAX_DEPTH = 200

_TAG = re.compile(rb"""<[^"'>]*(?:"[^"]*"[^"'>]*|'[^']*'[^"'>]*)*>""")
_TAG_NAME = re.compile(rb"<([^\s/>]+)")
_UTF_16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_UTF_8_NAMES = {"utf-8", "utf8", "us-ascii"}
_SPACE = b" \t\r\n"


@dataclass(slots=True, eq=False)
class Element:
    """An element and its bytes: the tags are ``start:inner`` and ``inner_end:end``.

    ``name`` and the names of ``attributes`` are ``"namespace local"``.
    """

    name: str
    attributes: dict[str, str]
    start: int
    inner: int
    parent: "Element | None" = None
    inner_end: int = 0
    end: int = 0
    children: "list[Element]" = field(default_factory=list)
    text: str = ""

    @property
    def is_closed(self) -> bool:
        """Whether it is a single tag, ``<a/>``."""
        return self.inner_end == self.end

    def walk(self) -> "Iterator[Element]":
        """It and all below it, in the order of the document."""
        left = [self]
        while left:
            element = left.pop()
            yield element
            left.extend(reversed(element.children))


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes ``start:end`` become ``text``; of two at one place the first given comes first."""

    start: int
    end: int
    text: bytes


class XmlSource:
    """A document as UTF-8 bytes with the places of its elements."""

    def __init__(self, data: bytes) -> None:
        """Raises :class:`SetAsideError` on what is too large, unsafe or no XML."""
        if len(data) > MAX_BYTES:
            raise SetAsideError(f"larger than {MAX_BYTES // 2**20} MiB")
        self._encoding = _UTF_16.get(data[:2], "utf-8")
        self._mark = data[:2] if self._encoding != "utf-8" else b""
        if self._mark:
            try:
                data = data[2:].decode(self._encoding).encode()
            except UnicodeError:
                raise SetAsideError("not readable as UTF-16") from None
        self.bytes = data
        self.root = _parsed(data, utf_16=bool(self._mark))

    def encoded(self, data: bytes) -> bytes:
        """UTF-8 ``data`` in the encoding of the file."""
        return self._mark + data.decode().encode(self._encoding) if self._mark else data

    def tag_name(self, element: Element) -> str:
        """The name as it is written, such as ``rdf:Bag``."""
        found = _TAG_NAME.match(self.bytes, element.start)
        assert found is not None
        return found[1].decode()

    def space_before(self, place: int) -> int:
        """Where the white space that ends at ``place`` begins."""
        while place and self.bytes[place - 1] in _SPACE:
            place -= 1
        return place

    def changed(self, edits: Iterable[Edit]) -> bytes:
        """The document after edits that do not overlap, as UTF-8."""
        pieces, place = [], 0
        for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
            assert edit.start >= place, "edits overlap"
            pieces += [self.bytes[place : edit.start], edit.text]
            place = edit.end
        return b"".join([*pieces, self.bytes[place:]])


class _Reader:
    """Builds the elements while expat reads."""

    def __init__(self, data: bytes, *, utf_16: bool) -> None:
        self._data = data
        self._open: list[Element] = []
        self._texts: list[list[str]] = []
        self._count = 0
        self.root: Element | None = None
        self._utf_16 = utf_16
        # The file's own encoding does not matter where it was decoded before.
        self._parser: Any = expat.ParserCreate("utf-8", namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.XmlDeclHandler = self._declaration

    def read(self) -> Element:
        self._parser.Parse(self._data, True)
        assert self.root is not None
        return self.root

    def _declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        known = _UTF_8_NAMES | ({"utf-16"} if self._utf_16 else set())
        if encoding is not None and encoding.lower() not in known:
            raise SetAsideError(f"in the encoding {encoding[:40]!r}, not UTF-8")

    def _doctype(self, *_: object) -> None:
        raise SetAsideError("has a document type declaration (DTD), which may be an attack")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            raise SetAsideError("has too many elements, or nests them too deep")
        start = self._parser.CurrentByteIndex
        tag = _TAG.match(self._data, start)
        assert tag is not None
        parent = self._open[-1] if self._open else None
        element = Element(name, attributes, start, tag.end(), parent)
        if parent is None:
            self.root = element
        else:
            parent.children.append(element)
        self._open.append(element)
        self._texts.append([])

    def _end(self, _name: str) -> None:
        element = self._open.pop()
        element.text = "".join(self._texts.pop())
        if self._data[element.inner - 2 : element.inner] == b"/>":
            element.inner_end = element.end = element.inner
        else:
            element.inner_end = self._parser.CurrentByteIndex
            element.end = self._data.index(b">", element.inner_end) + 1

    def _text(self, text: str) -> None:
        self._texts[-1].append(text)


def _parsed(data: bytes, *, utf_16: bool) -> Element:
    try:
        return _Reader(data, utf_16=utf_16).read()
    except expat.ExpatError as error:
        raise SetAsideError(f"is no well-formed XML ({error})") from None
