"""The bytes of an XMP sidecar after an export, and after it is taken back.

>>> tag = SidecarTag(keyword="dog", label="dog", score="0.9000")
>>> made = with_tags(None, [tag], run="zsl-1")
>>> keywords(made)
['dog']
>>> without_run(made, run="zsl-1") is None
True
"""

from collections.abc import Sequence

from taistore.exporting.sidecars.tag_entries import SidecarTag, entries_after
from taistore.exporting.sidecars.xmp_document import NEW, XmpDocument


def with_tags(
    data: bytes | None, tags: Sequence[SidecarTag], *, run: str, under: str = ""
) -> bytes | None:
    """A sidecar (None: there is none) once ``tags`` are all that ``run`` gives the photo.

    None where it is to be no file. The same bytes come back where nothing changes. Raises
    :class:`~taistore.exporting.set_aside.SetAsideError` on what is to be left alone.
    """
    document = XmpDocument(NEW if data is None else data)
    entries = entries_after(document.entries, tags, run=run, under=under, has=document.has)
    if tuple(entries) == document.entries:
        return data
    changed = document.with_entries(entries)
    return None if changed == NEW else changed


def without_run(data: bytes, *, run: str) -> bytes | None:
    """A sidecar without what ``run`` put there; None where that was all that it ever held."""
    return with_tags(data, (), run=run)


def keywords(data: bytes) -> list[str]:
    """The keywords of a sidecar that taistore put there, in its order."""
    return list(dict.fromkeys(e.keyword for e in XmpDocument(data).entries if e.state == "added"))
