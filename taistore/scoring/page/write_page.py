"""One HTML file to look at tags: thumbnails with score bars, search and label filter.

The page needs nothing from elsewhere: photos are embedded as small upright JPEGs.
"""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from taistore.printable import counted
from taistore.progress import Progress, no_progress
from taistore.scoring.page.cards import cards, images_of, known_labels, label_names
from taistore.scoring.page.html import render
from taistore.scoring.page.page_head import Origin, made_of, require_own_page
from taistore.scoring.page.thumbnail import thumbnail
from taistore.scoring.tags.output_place import unwritable
from taistore.scoring.tags.read_tags import count_images, lists_untagged, read_images
from taistore.scoring.tags.untagged import Untagged
from taistore.store.places import whole_file
from taistore.store.store import Store

MAX_IMAGES = 500
THUMBNAIL_PIXELS = 288
"""A card shows a photo some 260 CSS pixels wide, one on a phone 330."""


NO_ROW = "photos without a tag have no row there and are not shown"


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSummary:
    """The page that was written: its images, those left out, those without a preview."""

    page: str
    images: int
    left_out: int
    without_preview: int


def write_page(
    tags: str | Path,
    page: str | Path,
    *,
    store: Store | None = None,
    title: str = "Tagged photos",
    about: str = "",
    footer: str = "",
    origin: Origin | None = None,
    least_score: float | None = None,
    untagged: Untagged | None = None,
    max_images: int = MAX_IMAGES,
    thumbnail_pixels: int = THUMBNAIL_PIXELS,
    workers: int = 2,
    progress: Progress = no_progress,
) -> PageSummary:
    """Make a page of the first ``max_images`` images of a file of tags.

    Photos are read from their ``uri``; one that is gone shows a blank. With ``store``, tags whose
    truth it knows are marked right or wrong, and missed labels named. ``about`` is a line below
    the title, ``footer`` one at the end; ``origin`` is kept in the page's head. The page opens with
    the tags from ``least_score`` on (None: all), which its reader can change. ``untagged`` are the
    photos that a long file of tags has no rows of. A photo that the page lies above, or beside,
    opens large from its file; its address on the page is relative. Raises :class:`ScoringError`
    where ``tags`` cannot be read or ``page`` cannot be written
    (:func:`~taistore.scoring.page.page_head.require_own_page`).
    """
    tags, page = Path(tags), Path(page)
    require_own_page(page, tags, named=True)
    bare = untagged or Untagged()
    rows = read_images(tags, labels=store.labels if store else None)
    images = list(itertools.islice(images_of(rows, bare), max_images))
    total = len(images)
    if total == max_images:
        total = count_images(tags) + bare.count
    known = known_labels(store, images) if store is not None else {}
    with progress("page", total=len(images), unit="image") as bar:
        thumbnails = []
        with ThreadPoolExecutor(workers, thread_name_prefix="taistore-page") as pool:
            for small in pool.map(lambda i: thumbnail(i.uri, pixels=thumbnail_pixels), images):
                thumbnails.append(small)
                bar.advance()
    left_out = total - len(images)
    html = render(
        images=cards(
            images,
            thumbnails,
            known=known,
            name_of=label_names(store),
            least_score=least_score,
            folder=page.parent,
        ),
        title=title,
        about=about or counted(total, "photo"),
        footer=footer or "Made with taistore. A score ranks a label; it is not a probability.",
        left_out=f"The first {len(images):,} images are shown, {left_out:,} more are in the file "
        f"{tags.name}."
        if left_out
        else "",
        least_score=least_score,
        made_of=made_of(tags),
        origin="" if origin is None else origin.content(tags),
    )
    _write(page, html)
    without = sum(not small.data for small in thumbnails)
    return PageSummary(
        page=str(page), images=len(images), left_out=left_out, without_preview=without
    )


def of_file(tags: Path) -> str:
    """The line below the title of a page that is made of a finished file alone."""
    told = f"Tagged by taistore, from {tags.name}"
    return f"{told}." if lists_untagged(tags) else f"{told}; {NO_ROW}."


def _write(page: Path, html: str) -> None:
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(page) as part:
            part.write_text(html, encoding="utf-8")
    except OSError as error:
        raise unwritable(page, error, option="html") from error
