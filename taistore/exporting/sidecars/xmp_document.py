"""An XMP sidecar as keyword lists and our entries, and the edits that change just these.

Lists: ``dc:subject`` and ``lr:hierarchicalSubject`` are what all programs read. digiKam reads the
first of several lists that has anything in it, and these two come late, so that where it wrote its
own lists our keywords go there as well, or it would not show them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, get_args
from xml.sax.saxutils import escape, quoteattr

from taistore.exporting.set_aside import SetAsideError
from taistore.exporting.sidecars.keyword_names import HIERARCHY, leaf, path_of, same_as
from taistore.exporting.sidecars.tag_entries import Entry, State
from taistore.exporting.sidecars.xml_source import Edit, Element, XmlSource

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NAMESPACE = "urn:taistore:xmp:1.0/"
"""Of our own properties. It ends in a slash, or Exiv2 would add one."""

NEW = f"""\
<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="taistore">
 <rdf:RDF xmlns:rdf="{RDF}">
 </rdf:RDF>
</x:xmpmeta>
""".encode()
"""A sidecar of ours without a tag: one that is this again once its tags are gone is ours alone."""

_CONTAINERS = {f"{RDF} {name}" for name in ("Bag", "Seq", "Alt")}
_TAGS = f"{NAMESPACE} tags"


@dataclass(frozen=True, kw_only=True, slots=True)
class KeywordList:
    """A property that is a list of keywords, or of their paths where it has a ``separator``.

    One that is not ``common`` is added to only where it is there and holds something.
    """

    prefix: str
    uri: str
    local: str
    separator: str = ""
    common: bool = False

    @property
    def name(self) -> str:
        """As the parser calls it."""
        return f"{self.uri} {self.local}"

    def value(self, entry: Entry) -> str:
        """How the list has an entry's keyword."""
        if not self.separator:
            return entry.keyword
        return path_of(entry.keyword, under=entry.under, separator=self.separator)


LISTS = (
    KeywordList(prefix="dc", uri="http://purl.org/dc/elements/1.1/", local="subject", common=True),
    KeywordList(
        prefix="lr",
        uri="http://ns.adobe.com/lightroom/1.0/",
        local="hierarchicalSubject",
        separator=HIERARCHY,
        common=True,
    ),
    KeywordList(
        prefix="digiKam", uri="http://www.digikam.org/ns/1.0/", local="TagsList", separator="/"
    ),
    *(
        KeywordList(prefix="MicrosoftPhoto", uri=uri, local="LastKeywordXMP", separator="/")
        for uri in ("http://ns.microsoft.com/photo/1.0/", "http://ns.microsoft.com/photo/1.0")
    ),
    KeywordList(
        prefix="mediapro",
        uri="http://ns.iview-multimedia.com/mediapro/1.0/",
        local="CatalogSets",
        separator="|",
    ),
)


class XmpDocument:
    """A sidecar's bytes; raises :class:`SetAsideError` where it is none that can be changed."""

    def __init__(self, data: bytes) -> None:
        self._source = XmlSource(data)
        found = (e for e in self._source.root.walk() if e.name == f"{RDF} RDF")
        rdf = next(found, None)
        if rdf is None:
            raise SetAsideError("holds no rdf:RDF, so that it is no XMP")
        self._rdf = rdf
        self._lists = {each: self._list(each) for each in LISTS}
        self._tags = self._properties(_TAGS)
        self._there = set(map(same_as, self._keywords()))
        self.entries = tuple(self._entries())

    def has(self, keyword: str) -> bool:
        """Whether a person or a program, we too, gave the photo this keyword."""
        return same_as(keyword) in self._there

    def _keywords(self) -> Iterable[str]:
        for each, elements in self._lists.items():
            for value in map(_value, _items(elements)):
                yield leaf(value, separator=each.separator) if each.separator else value

    def with_entries(self, entries: Sequence[Entry]) -> bytes:
        """The file once its entries are these: keywords of ours come and go with them."""
        edits: list[Edit] = []
        fresh = b""
        for each in LISTS:
            gone, new = _difference(each, self.entries, entries)
            fresh += self._changed_list(each, gone, new, edits)
        self._changed_tags(entries, fresh, edits)
        data = self._source.encoded(self._source.changed(edits))
        return self._source.encoded(self._without_emptied(data))

    # --- what is there --------------------------------------------------------------------

    def _properties(self, name: str) -> list[Element]:
        found = []
        for description in self._rdf.children:
            if name in description.attributes:
                raise SetAsideError(f"has {_short(name)} as plain text, not as a list")
            found += [each for each in description.children if each.name == name]
        return found

    def _list(self, each: KeywordList) -> list[Element]:
        found = self._properties(each.name)
        for element in found:
            whole = len(element.children) == 1 and element.children[0].name in _CONTAINERS
            empty = not element.children and not element.text.strip()
            if not (whole or empty) or f"{RDF} parseType" in element.attributes:
                raise SetAsideError(f"has a {_short(each.name)} that is no list of keywords")
        return found

    def _entries(self) -> Iterable[Entry]:
        names = {field.name for field in fields(Entry)}
        for item in _items(self._tags):
            told: dict[str, str] = {}
            for element in item.walk():
                pairs = [*element.attributes.items(), (element.name, element.text)]
                told |= {_local(name): text for name, text in pairs if _is_ours(name)}
            if told.get("state") in get_args(State) and {"keyword", "run"} <= told.keys():
                given: dict[str, Any] = {name: told.get(name, "") for name in names}
                yield Entry(**given)

    # --- edits ----------------------------------------------------------------------------

    def _changed_list(
        self, each: KeywordList, gone: set[str], new: Sequence[str], edits: list[Edit]
    ) -> bytes:
        """Add the edits of one list; a property that is to be made is returned instead."""
        elements = self._lists[each]
        here = {same_as(_value(item)) for item in _items(elements)}
        add = [value for value in new if same_as(value) not in here]
        if not elements:
            return _property(each, add) if add and each.common else b""
        if not (each.common or here):
            add = []
        for element in elements:
            edits += self._changed_property(element, gone, add)
            add = []
        return b""

    def _changed_property(
        self, element: Element, gone: set[str], add: Sequence[str]
    ) -> Iterable[Edit]:
        source = self._source
        items = list(_items([element]))
        drop = [item for item in items if same_as(_value(item)) in gone]
        if drop and len(drop) == len(items) and not add:
            yield Edit(source.space_before(element.start), element.end, b"")
            return
        for item in drop:
            yield Edit(source.space_before(item.start), item.end, b"")
        if add:
            yield self._added(element, items, add)

    def _added(self, element: Element, items: Sequence[Element], add: Sequence[str]) -> Edit:
        source = self._source
        assert element.parent is not None
        rdf = _prefix(source.tag_name(self._rdf))
        if items:
            last = items[-1]
            space = source.bytes[source.space_before(last.start) : last.start].decode()
            text = "".join(f"{space}<{rdf}li>{escape(value)}</{rdf}li>" for value in add)
            return Edit(last.end, last.end, text.encode())
        values = "".join(f"<{rdf}li>{escape(value)}</{rdf}li>" for value in add)
        outer = element.children[0] if element.children else element
        if outer is element:
            values = f"<{rdf}Bag>{values}</{rdf}Bag>"
        if not outer.is_closed:
            return Edit(outer.inner, outer.inner, values.encode())
        opened = source.bytes[outer.start : outer.inner].decode().removesuffix("/>").rstrip()
        text = f"{opened}>{values}</{source.tag_name(outer)}>"
        return Edit(outer.start, outer.end, text.encode())

    def _changed_tags(self, entries: Sequence[Entry], fresh: bytes, edits: list[Edit]) -> None:
        source = self._source
        if not self._tags:
            if entries:
                edits.append(self._new_home(fresh + _entries_text(entries)))
            return
        first, *others = self._tags
        before = source.space_before(first.start)
        if entries:
            edits.append(Edit(before, first.end, fresh + _entries_text(entries)))
        else:
            edits.append(Edit(before, first.end, b""))
        edits += [Edit(source.space_before(e.start), e.end, b"") for e in others]

    def _new_home(self, content: bytes) -> Edit:
        """A description of its own, so that those of other programs stay as they are."""
        rdf, children = self._rdf, self._rdf.children
        about = children[0].attributes.get(f"{RDF} about", "") if children else ""
        opening = f'\n  <rdf:Description xmlns:rdf="{RDF}" rdf:about={quoteattr(about)}>'
        text = opening.encode() + content + b"\n  </rdf:Description>"
        if not rdf.is_closed:
            place = children[-1].end if children else rdf.inner
            return Edit(place, place, text)
        opened = self._source.bytes[rdf.start : rdf.inner].removesuffix(b"/>").rstrip()
        end = f"\n </{self._source.tag_name(rdf)}>".encode()
        return Edit(rdf.start, rdf.end, opened + b">" + text + end)

    def _without_emptied(self, data: bytes) -> bytes:
        """Without the descriptions that an edit has left empty; also sees that it can be read."""
        source = XmlSource(data)
        rdf = next(e for e in source.root.walk() if e.name == f"{RDF} RDF")
        edits = []
        for was, now in zip(self._rdf.children, rdf.children, strict=False):
            inside = source.bytes[now.inner : now.inner_end].strip()
            if was.children and not inside and set(now.attributes) <= {f"{RDF} about"}:
                edits.append(Edit(source.space_before(now.start), now.end, b""))
        return source.changed(edits)


def _difference(
    each: KeywordList, before: Sequence[Entry], after: Sequence[Entry]
) -> tuple[set[str], list[str]]:
    """What of ours goes from a list, as :func:`same_as` has it, and what comes into it."""
    old = {same_as(each.value(entry)) for entry in before if entry.state == "added"}
    new = {same_as(v): v for v in (each.value(e) for e in after if e.state == "added")}
    return old - new.keys(), [value for same, value in new.items() if same not in old]


def _items(properties: Iterable[Element]) -> Iterable[Element]:
    """The items of lists."""
    for element in properties:
        for container in element.children:
            yield from (item for item in container.children if item.name == f"{RDF} li")


def _value(item: Element) -> str:
    """A keyword; one with qualifiers has it as its ``rdf:value``."""
    values = [each.text for each in item.walk() if each.name == f"{RDF} value"]
    return values[0] if values else item.text


def _property(each: KeywordList, values: Sequence[str]) -> bytes:
    items = "".join(f"\n     <rdf:li>{escape(value)}</rdf:li>" for value in values)
    name = f"{each.prefix}:{each.local}"
    return (
        f"\n   <{name} xmlns:{each.prefix}={quoteattr(each.uri)}>\n    <rdf:Bag>{items}"
        f"\n    </rdf:Bag>\n   </{name}>"
    ).encode()


def _entries_text(entries: Sequence[Entry]) -> bytes:
    lines = [f'   <taistore:tags xmlns:taistore="{NAMESPACE}" xmlns:rdf="{RDF}">', "    <rdf:Bag>"]
    for entry in entries:
        lines.append('     <rdf:li rdf:parseType="Resource">')
        for field in fields(Entry):
            if text := getattr(entry, field.name):
                tag = f"taistore:{field.name}"
                lines.append(f"      <{tag}>{escape(text)}</{tag}>")
        lines.append("     </rdf:li>")
    lines += ["    </rdf:Bag>", "   </taistore:tags>"]
    return "".join(f"\n{line}" for line in lines).encode()


def _prefix(name: str) -> str:
    before, colon, _ = name.rpartition(":")
    return before + colon


def _is_ours(name: str) -> bool:
    return name.startswith(f"{NAMESPACE} ")


def _local(name: str) -> str:
    return name.rpartition(" ")[2]


def _short(name: str) -> str:
    """A property as people know it."""
    prefixes = {each.uri: each.prefix for each in LISTS} | {NAMESPACE: "taistore"}
    uri, _, local = name.partition(" ")
    return f"{prefixes.get(uri, uri)}:{local}"
