"""One HTML file to look at tags: thumbnails with score bars, search and label filter.

The page needs nothing from elsewhere: photos are embedded as small upright JPEGs.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taistore.progress import Progress, no_progress
from taistore.scoring.page.html import render, visible
from taistore.scoring.page.page_head import Origin, require_page
from taistore.scoring.page.thumbnail import Thumbnail, thumbnail
from taistore.scoring.tags.output_place import unwritable
from taistore.scoring.tags.read_tags import count_images, read_tags
from taistore.store.store import Store

MAX_IMAGES = 500
THUMBNAIL_PIXELS = 320
_MISSED_SHOWN = 8
_TALLEST, _WIDEST = 1.0, 2.0
"""Photos of another shape (width over height) are shown whole, as cutting would hide too much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PageSummary:
    """The page that was written: its images, those left out, those without a preview."""

    page: str
    images: int
    left_out: int
    without_preview: int


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownLabels:
    """What is known to be true of an image, as label keys; ``complete``: all else is absent."""

    positives: frozenset[str]
    negatives: frozenset[str]
    complete: bool

    def right(self, key: str) -> bool | None:
        """Whether the image is known to show the label; None where nothing is known."""
        if key in self.positives:
            return True
        return False if self.complete or key in self.negatives else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _TaggedImage:
    """The rows of one image."""

    image_id: str
    uri: str
    tags: tuple[dict[str, Any], ...]


def write_page(
    tags: str | Path,
    page: str | Path,
    *,
    store: Store | None = None,
    title: str = "Tagged photos",
    about: str = "",
    footer: str = "",
    origin: Origin | None = None,
    least_score: float = 0.0,
    max_images: int = MAX_IMAGES,
    thumbnail_pixels: int = THUMBNAIL_PIXELS,
    workers: int = 2,
    progress: Progress = no_progress,
) -> PageSummary:
    """Make a page of the first ``max_images`` images of a file of tags.

    Photos are read from their ``uri``; one that is gone shows a blank. With ``store``, tags whose
    truth it knows are marked right or wrong, and missed labels named. ``about`` is a line below
    the title, ``footer`` one at the end; ``origin`` is kept in the page's head. The page opens with
    the tags from ``least_score`` on, which its reader can change. Raises :class:`ScoringError`
    where ``tags`` cannot be read or ``page`` cannot be written
    (:func:`~taistore.scoring.page.page_head.require_page`).
    """
    tags, page = Path(tags), Path(page)
    require_page(page, tags)
    images = list(
        itertools.islice(
            _images(read_tags(tags, labels=store.labels if store else None)), max_images
        )
    )
    total = count_images(tags) if len(images) == max_images else len(images)
    known = _known_labels(store, images) if store is not None else {}
    with progress("page", total=len(images), unit="image") as bar:
        thumbnails = []
        with ThreadPoolExecutor(workers, thread_name_prefix="taistore-page") as pool:
            for small in pool.map(lambda i: thumbnail(i.uri, pixels=thumbnail_pixels), images):
                thumbnails.append(small)
                bar.advance()
    left_out = total - len(images)
    html = render(
        images=_cards(images, thumbnails, known, _names(store)),
        title=title,
        about=about or f"{total:,} {'photo' if total == 1 else 'photos'}",
        footer=footer or "Made with taistore. A score ranks a label; it is not a probability.",
        left_out=f"The first {len(images):,} images are shown, {left_out:,} more are in the file "
        f"{tags.name}."
        if left_out
        else "",
        least_score=least_score,
        origin="" if origin is None else origin.content(tags),
    )
    _write(page, html)
    without = sum(not small.data for small in thumbnails)
    return PageSummary(
        page=str(page), images=len(images), left_out=left_out, without_preview=without
    )


def _images(rows: Iterable[dict[str, Any]]) -> Iterator[_TaggedImage]:
    """Rows by image; the rows of an image follow one another, from rank 1 on."""
    group: list[dict[str, Any]] = []
    for row in rows:
        if group and (row["uri"] != group[0]["uri"] or row["rank"] == 1):
            yield _tagged(group)
            group = []
        group.append(row)
    if group:
        yield _tagged(group)


def _tagged(rows: list[dict[str, Any]]) -> _TaggedImage:
    return _TaggedImage(image_id=rows[0]["image_id"], uri=rows[0]["uri"], tags=tuple(rows))


def _known_labels(store: Store, images: Sequence[_TaggedImage]) -> dict[str, KnownLabels]:
    keys = store.labels.keys
    ids = [image.image_id for image in images]
    columns = ["image_id", "positives", "negatives", "complete"]
    return {
        row["image_id"]: KnownLabels(
            positives=frozenset(keys[n] for n in row["positives"]),
            negatives=frozenset(keys[n] for n in row["negatives"]),
            complete=row["complete"],
        )
        for batch in store.scan("images", columns=columns, where={"image_id": ids})
        for row in batch.to_pylist()
    }


def _names(store: Store | None) -> Callable[[str], str]:
    """From a label key to the name that people read."""
    names = {label.key: label.name for label in store.labels} if store is not None else {}
    return lambda key: names.get(key, key)


def _cards(
    images: Sequence[_TaggedImage],
    thumbnails: Sequence[Thumbnail],
    known: dict[str, KnownLabels],
    name_of: Callable[[str], str],
) -> list[dict[str, Any]]:
    """What the template shows of each image."""
    folder = _common_folder([image.uri for image in images])
    cards = []
    for image, small in zip(images, thumbnails, strict=True):
        truth = known.get(image.image_id)
        tagged = {tag["label_key"] for tag in image.tags}
        missed = sorted(visible(name_of(key)) for key in truth.positives - tagged) if truth else []
        if len(missed) > _MISSED_SHOWN:
            missed = [*missed[:_MISSED_SHOWN], f"{len(missed) - _MISSED_SHOWN} more"]
        cards.append(
            {
                "name": visible(image.uri.removeprefix(folder)),
                "alt": "Photo tagged "
                + ", ".join(visible(tag["label_name"]) for tag in image.tags),
                "thumbnail": small.data,
                "width": small.size[0],
                "height": small.size[1],
                "whole": not _TALLEST <= small.size[0] / max(small.size[1], 1) <= _WIDEST,
                "problem": small.problem,
                "missed": missed,
                "tags": [
                    {
                        "key": tag["label_key"],
                        "name": visible(tag["label_name"]),
                        "score": f"{tag['score']:.2f}",
                        "percent": f"{100 * tag['score']:.1f}",
                        "right": truth.right(tag["label_key"]) if truth else None,
                    }
                    for tag in image.tags
                ],
            }
        )
    return cards


def _common_folder(uris: Sequence[str]) -> str:
    """The folder that all paths share, with its slash: a page need not tell where it was made."""
    folders = {os.path.dirname(uri) for uri in uris}  # noqa: PTH120 - a uri is no local path
    try:
        common = os.path.commonpath(folders) if folders else ""
    except ValueError:
        return ""
    return common.rstrip("/") + "/" if common else ""


def _write(page: Path, html: str) -> None:
    temporary = page.with_name(page.name + ".tmp")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(page)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise unwritable(page, error, option="html") from error
