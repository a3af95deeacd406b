"""The tags of one image, as programs and notebooks use them."""

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from taistore.scoring.page.html import visible
from taistore.scoring.page.thumbnail import thumbnail
from taistore.scoring.photos import Photo, photo_name

SHOWN_TAGS = 10
"""Tags that a ``repr`` shows."""

THUMBNAIL_PIXELS = 160


@dataclass(frozen=True, kw_only=True, slots=True)
class Tag:
    """A label that an image is tagged with.

    ``score`` is the :func:`~taistore.scoring.ladders.ladder.confidence` in [0, 1], ``rank`` 1 the
    best tag, ``label_id`` the label's place in the label set.
    """

    key: str
    name: str
    score: float
    rank: int
    label_id: int


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImageTags(Sequence[Tag]):
    """The tags of an image, best first, with the photo that they were given to; may be empty.

    A notebook shows them as a table beside a thumbnail.
    """

    photo: Photo
    tags: tuple[Tag, ...]

    def __len__(self) -> int:
        return len(self.tags)

    @overload
    def __getitem__(self, index: int) -> Tag: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Tag, ...]: ...
    def __getitem__(self, index: int | slice) -> Tag | tuple[Tag, ...]:
        return self.tags[index]

    def __iter__(self) -> Iterator[Tag]:
        return iter(self.tags)

    def __repr__(self) -> str:
        tags = ", ".join(f"{tag.name} {tag.score:.2f}" for tag in self.tags[:SHOWN_TAGS])
        more = len(self.tags) - SHOWN_TAGS
        tags += f", {more} more" if more > 0 else ""
        return f"ImageTags({photo_name(self.photo)!r}: {tags or 'no tags'})"

    def _repr_html_(self) -> str:
        """A thumbnail and a bar for each tag; every text from outside is escaped."""
        name = _escaped(photo_name(self.photo))
        small = thumbnail(self.photo, pixels=THUMBNAIL_PIXELS)
        picture = (
            f'<img src="data:image/jpeg;base64,{small.data}" width="{small.size[0]}" '
            f'height="{small.size[1]}" alt="{name}">'
            if small.data
            else ""
        )
        rows = "".join(
            f'<tr><td style="text-align:left">{_escaped(tag.name)}</td>'
            f'<td><meter value="{tag.score:.4f}"></meter></td><td>{tag.score:.2f}</td></tr>'
            for tag in self.tags
        )
        table = f"<table>{rows}</table>" if rows else "no tags"
        return (
            '<div style="display:flex;gap:1em;align-items:flex-start">'
            f"<div>{picture}<div><small>{name}</small></div></div>{table}</div>"
        )


def _escaped(text: str) -> str:
    return html.escape(visible(text))
