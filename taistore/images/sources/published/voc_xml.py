"""One XML file of Pascal VOC: its image's file name and the classes of its objects.

Read by events instead of into a tree, and without document types: no entity is ever expanded.
"""

from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from taistore.images.sources.row_labels import RowError

MAX_BYTES = 16 * 2**20
"""A longer file is set aside: genuine ones have some kilobytes."""


class VocObject(NamedTuple):
    """The class of an object, and whether it is marked as difficult to recognise."""

    name: str
    difficult: bool


class VocAnnotation(NamedTuple):
    """What one file says; ``filename`` is empty where it names none."""

    filename: str
    objects: list[VocObject]


def read_voc(path: Path) -> VocAnnotation:
    """Read one file; raises :class:`RowError` where it is not a VOC annotation, and OSError."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise RowError(f"longer than {MAX_BYTES:,} bytes: not an annotation", reason="malformed")
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise RowError(
            f"broken XML at line {error.lineno}, byte {max(reader.parser.ErrorByteIndex, 0):,}: "
            f"{expat.errors.messages[error.code]}",
            reason="malformed",
        ) from None
    except (UnicodeError, LookupError, ValueError) as error:
        raise RowError(f"unreadable XML: {error}", reason="malformed") from None
    return VocAnnotation(reader.filename, reader.objects)


class _Reader:
    def __init__(self) -> None:
        self.filename = ""
        self.objects: list[VocObject] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.EntityDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self._path: list[str] = []
        self._written: list[str] = []
        self._fields: dict[str, str] = {}

    def _refuse(self, *declaration: object) -> None:
        raise RowError(
            "declares a document type or entity, which no annotation needs: remove it",
            reason="malformed",
        )

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path and tag != "annotation":
            raise RowError(
                f"the outermost element is <{tag:.60}>, not <annotation>", reason="malformed"
            )
        self._path.append(tag)
        self._written.clear()
        if self._path == ["annotation", "object"]:
            self._fields.clear()

    def _text(self, text: str) -> None:
        self._written.append(text)

    def _end(self, tag: str) -> None:
        text = "".join(self._written).strip()
        self._written.clear()
        # Parts of an object have names too, one level deeper.
        match self._path:
            case ["annotation", "filename"]:
                self.filename = text
            case ["annotation", "object", ("name" | "difficult") as field]:
                self._fields[field] = text
            case ["annotation", "object"]:
                self._add_object()
            case _:
                pass
        self._path.pop()

    def _add_object(self) -> None:
        number = len(self.objects) + 1
        name, difficult = self._fields.get("name", ""), self._fields.get("difficult", "") or "0"
        if not name:
            raise RowError(f"object {number} has no <name>", reason="malformed")
        if difficult not in ("0", "1"):
            raise RowError(
                f"object {number}: <difficult> is {difficult!r:.40}: it must be 0 or 1",
                reason="malformed",
            )
        self.objects.append(VocObject(name, difficult == "1"))
