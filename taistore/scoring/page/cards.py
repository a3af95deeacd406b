"""What the page shows of each image: its thumbnail, its tags, and what is known of it."""

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from taistore.scoring.page.html import visible
from taistore.scoring.page.thumbnail import Thumbnail
from taistore.scoring.tags.untagged import Untagged
from taistore.store.store import Store
from taistore.store.tables.label_lists import covered_labels

_MISSED_SHOWN = 8
_TALLEST, _WIDEST = 1.0, 2.0
"""Photos of another shape (width over height) are shown whole, as cutting would hide too much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownLabels:
    """What is known to be true of an image, as label keys.

    Of labels in neither list the first ``covered`` are absent; ``columns`` are the places of all.
    """

    positives: frozenset[str]
    negatives: frozenset[str]
    covered: int
    columns: Mapping[str, int]

    def right(self, key: str) -> bool | None:
        """Whether the image is known to show the label; None where nothing is known."""
        if key in self.positives:
            return True
        covered = key in self.columns and self.columns[key] < self.covered
        return False if covered or key in self.negatives else None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaggedImage:
    """An image with its rows of a file of tags; none where it has no tag."""

    image_id: str
    uri: str
    tags: tuple[dict[str, Any], ...]


def images_of(rows: Iterable[dict[str, Any]], untagged: Untagged) -> Iterator[TaggedImage]:
    """The images of a file of tags, with those that it has no rows of where they belong."""
    bare = list(untagged.first)[::-1]
    tagged = _tagged_images(rows)
    for place in itertools.count():
        if bare and bare[-1].place == place:
            image = bare.pop()
            yield TaggedImage(image_id=image.image_id, uri=image.uri, tags=())
        elif (found := next(tagged, None)) is not None:
            yield found
        else:
            break
    for image in reversed(bare):
        yield TaggedImage(image_id=image.image_id, uri=image.uri, tags=())


def _tagged_images(rows: Iterable[dict[str, Any]]) -> Iterator[TaggedImage]:
    """Rows by image; those of an image follow one another, from rank 1 on, or 0 without a tag."""
    group: list[dict[str, Any]] = []
    for row in rows:
        if group and (row["uri"] != group[0]["uri"] or row["rank"] <= 1):
            yield _tagged(group)
            group = []
        group.append(row)
    if group:
        yield _tagged(group)


def _tagged(rows: list[dict[str, Any]]) -> TaggedImage:
    tags = tuple(row for row in rows if row["rank"] > 0)
    return TaggedImage(image_id=rows[0]["image_id"], uri=rows[0]["uri"], tags=tags)


def known_labels(store: Store, images: Sequence[TaggedImage]) -> dict[str, KnownLabels]:
    """What the store knows of images, by image id."""
    keys = store.labels.keys
    ids = [image.image_id for image in images]
    names = ["image_id", "positives", "negatives", "complete", "covered"]
    columns = {key: n for n, key in enumerate(keys)}
    return {
        row["image_id"]: KnownLabels(
            positives=frozenset(keys[n] for n in row["positives"]),
            negatives=frozenset(keys[n] for n in row["negatives"]),
            covered=covered,
            columns=columns,
        )
        for batch in store.scan("images", columns=names, where={"image_id": ids})
        for row, covered in zip(batch.to_pylist(), covered_labels(batch).tolist(), strict=True)
    }


def label_names(store: Store | None) -> Callable[[str], str]:
    """From a label key to the name that people read."""
    names = {label.key: label.name for label in store.labels} if store is not None else {}
    return lambda key: names.get(key, key)


def cards(
    images: Sequence[TaggedImage],
    thumbnails: Sequence[Thumbnail],
    *,
    known: dict[str, KnownLabels],
    name_of: Callable[[str], str],
    least_score: float | None,
    folder: Path,
) -> list[dict[str, Any]]:
    """What the template shows of each image; the page lies in ``folder``."""
    common = _common_folder([image.uri for image in images])
    return [
        {
            "name": visible(image.uri.removeprefix(common)),
            "link": link(image.uri, folder),
            "path": visible(image.uri if "://" in image.uri else image.uri.removeprefix(common)),
            "alt": _alternative(image),
            "thumbnail": small.data,
            "width": small.size[0],
            "height": small.size[1],
            "whole": not _TALLEST <= small.size[0] / max(small.size[1], 1) <= _WIDEST,
            "problem": small.problem,
            **_truth(image, known.get(image.image_id), name_of, least_score),
        }
        for image, small in zip(images, thumbnails, strict=True)
    ]


def _alternative(image: TaggedImage) -> str:
    names = ", ".join(visible(tag["label_name"]) for tag in image.tags)
    return f"Photo tagged {names}" if names else "Photo without tags"


def _truth(
    image: TaggedImage,
    truth: KnownLabels | None,
    name_of: Callable[[str], str],
    least_score: float | None,
) -> dict[str, Any]:
    """The tags of an image, the labels that it is known to show, and those missed above a score."""
    positives = [
        {"key": key, "name": visible(name_of(key))}
        for key in sorted(truth.positives if truth else (), key=name_of)
    ]
    least = -math.inf if least_score is None else least_score
    shown = {tag["label_key"] for tag in image.tags if tag["score"] >= least}
    missed = [label["name"] for label in positives if label["key"] not in shown]
    if len(missed) > _MISSED_SHOWN:
        missed = [*missed[:_MISSED_SHOWN], f"{len(missed) - _MISSED_SHOWN} more"]
    return {
        "positives": positives,
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


def link(uri: str, folder: Path) -> str:
    """A photo's address relative to the page, so that it tells nothing of where the page was made.

    Empty where there is none: of what is no file here, or on another drive.

    >>> link("/photos/2026/a b.jpg", Path("/photos")), link("s3://bucket/a.jpg", Path("/"))
    ('2026/a%20b.jpg', '')
    """
    if "://" in uri:
        return ""
    try:
        # Not resolved: a browser takes ".." off an address without looking at links either.
        way = os.path.relpath(os.path.abspath(uri), os.path.abspath(folder))  # noqa: PTH100
        return quote(os.fsencode(way.replace(os.sep, "/")))
    except ValueError:
        return ""


def _common_folder(uris: Sequence[str]) -> str:
    """The folder that all paths share, with its slash: a page need not tell where it was made."""
    folders = {os.path.dirname(uri) for uri in uris}  # noqa: PTH120 - a uri is no local path
    try:
        common = os.path.commonpath(folders) if folders else ""
    except ValueError:
        return ""
    return common.rstrip("/") + "/" if common else ""
