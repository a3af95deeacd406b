"""What sources say of images, and what that makes of the rows of ``images``."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from taistore.images.pipeline import EncodedImage
from taistore.images.sources.source import Annotation
from taistore.labels import LabelSet

DEFAULT_SPLIT = "train"
"""The split of a new image of which nobody names one: what is labelled is there to learn from."""

Row = dict[str, Any]


def uri_image_id(uri: str) -> str:
    """Identity of an image whose file is not at hand: the 128-bit BLAKE2b of ``uri:`` + its id."""
    return hashlib.blake2b(f"uri:{uri}".encode(), digest_size=16).hexdigest()


def paths_of(row: Row) -> list[str]:
    """All paths that have the content of a row, the one that it is shown under first."""
    return [row["uri"], *(row["other_uris"] or ())]


def put_paths(row: Row, paths: Sequence[str]) -> None:
    """Give a row its paths, of which there is at least one."""
    row["uri"], *others = paths
    row["other_uris"] = others or None


def row_after(
    before: Row | None, images: Sequence[EncodedImage], *, labels: LabelSet, split: str | None
) -> Row | None:
    """The row of one content after ``images``, all of which have it and come in this order.

    ``labels`` are all that the store ever had, so that places among them are ids, also in what the
    images say. What they say of a label replaces what was known of it, and the last that names a
    split, or ``split`` where none does, is believed. Their paths are added; of the earlier paths
    those that are gone from disk are left out. None where the image is new and nobody measured its
    size.
    """
    row = dict(before) if before is not None else _new_row(images)
    if row is None:
        return None
    paths = dict.fromkeys(paths_of(row))
    new = [image.source.uri for image in images if image.source.uri not in paths]
    if before is not None and new:
        # A photo that was moved is found where it is now.
        paths = {path: None for path in paths if Path(path).exists()}
    put_paths(row, list(dict.fromkeys([*paths, *new])))
    for image in images:
        if image.source.annotation is not None:
            _learn(row, image.source.annotation, labels=len(labels))
        row["split"] = image.source.split or split or row["split"]
    known = row["positives"]
    row["combination_id"] = labels.combination_id(known) if known else None
    return row


def _new_row(images: Sequence[EncodedImage]) -> Row | None:
    size = next((image.size for image in images if image.size is not None), None)
    if size is None:
        return None
    return {
        "image_id": images[0].source.image_id,
        "uri": images[0].source.uri,
        "width": size[0],
        "height": size[1],
        "positives": [],
        "negatives": [],
        "complete": False,
        "combination_id": None,
        "split": DEFAULT_SPLIT,
        "other_uris": None,
        "covered": 0,
    }


def _learn(row: Row, said: Annotation, *, labels: int) -> None:
    """Cell by cell: a label of which nothing is said stays as it was known."""
    positives, negatives, covered = set(said.positives), set(said.negatives), labels
    if not said.complete:
        stated = positives | negatives | set(said.unknown)
        before, absent = set(row["positives"]), set(row["negatives"])
        covered = _covered(row, labels)
        if covered and said.unknown:
            # The others are absent still, which has to be listed from now on.
            absent |= set(range(covered)) - before
            covered = 0
        positives |= before - stated
        negatives |= absent - stated
    row["positives"] = sorted(positives)
    row["negatives"] = sorted(label for label in negatives if label >= covered)
    row["complete"] = covered > 0
    row["covered"] = covered


def _covered(row: Row, labels: int) -> int:
    """Of how many labels, the first ones, all is known; a row may say that it is all there are."""
    if not row["complete"]:
        return 0
    return labels if row["covered"] is None else int(row["covered"])
