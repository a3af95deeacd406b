"""What kind of source lies at a path, by its structure; an unclear case says how to name it."""

import csv
from itertools import islice
from pathlib import Path

import ijson

from taistore.errors import ImageError
from taistore.images.sources.folder import has_image_suffix
from taistore.images.sources.manifest import MANIFEST_SUFFIXES
from taistore.images.sources.shallow_json import ShallowJson
from taistore.printable import printable

FORMATS = ("auto", "folder", "manifest", "coco", "voc", "nuswide", "openimages")
"""Kinds of sources by name."""

_LOOKED_AT = 1000
"""Entries of a folder that are looked at to tell what it holds."""

_ANNOTATION_START = 4096


def detect(path: Path) -> str:
    """One of :data:`FORMATS` without "auto".

    Raises :class:`ImageError` when there is nothing at ``path``, nothing that is known, or what
    could be meant in two ways.
    """
    try:
        if path.is_dir():
            return _folder(path)
        if not path.exists():
            raise ImageError(f"{path}: no such folder or file: check the path", reason="missing")
        suffix = path.suffix.lower()
        if suffix == ".json":
            return _json(path)
        if suffix == ".csv" and _is_openimages(path):
            return "openimages"
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be reached: {error.strerror}: check the path", reason="unreadable"
        ) from None
    if suffix in MANIFEST_SUFFIXES:
        return "manifest"
    if has_image_suffix(path.name):
        return "folder"
    raise ImageError(
        f"{path}: neither a folder, a manifest ({', '.join(MANIFEST_SUFFIXES)}), COCO's .json nor "
        "an image",
        reason="not_an_image",
    )


def _folder(path: Path) -> str:
    if (path / "ImageList").is_dir() and (path / "Groundtruth").is_dir():
        return "nuswide"
    if any((path / "Annotations").glob("*.xml")):
        return "voc"
    for pattern, layout in (
        ("VOC*/Annotations/*.xml", "voc"),
        ("annotations/instances_*.json", "coco"),
        ("instances_*.json", "coco"),
    ):
        if (found := next(path.glob(pattern), None)) is not None:
            named = found.parent.parent if layout == "voc" else found
            raise _unclear(path, f"photos, or annotations such as {named}", layout)
    names = [entry.name for entry in islice(path.iterdir(), _LOOKED_AT)]
    described = next((name for name in names if name.lower().endswith(".xml")), None)
    if described is None or not _is_voc(path / described):
        return "folder"
    if any(map(has_image_suffix, names)):
        raise _unclear(path, f"photos, or annotations such as {described}", "voc")
    return "voc"


def _unclear(path: Path, meanings: str, layout: str) -> ImageError:
    what = "name the .json file" if layout == "coco" else f"use layout={layout}"
    return ImageError(
        printable(f"{path}: could be {meanings}: use layout=folder for the photos, or {what}"),
        reason="unsupported",
    )


def _is_voc(path: Path) -> bool:
    with path.open("rb") as file:
        return b"<annotation" in file.read(_ANNOTATION_START)


def _json(path: Path) -> str:
    with path.open("rb") as file:
        try:
            for prefix, event, value in ijson.parse(ShallowJson(file, str(path)), use_float=True):
                if prefix == "" and event == "map_key" and value in _COCO_KEYS:
                    return "coco"
                if prefix == "" and event not in ("start_map", "map_key", "end_map"):
                    break
        except ijson.JSONError as error:
            lines = str(error).splitlines() or ["no reason given"]
            raise ImageError(
                f"{path}: broken JSON before byte {file.tell():,} ({printable(lines[0])})",
                reason="unreadable",
            ) from None
    raise ImageError(
        f"{path}: .json, but not COCO's (no 'images', 'annotations' or 'categories' at its top): "
        f"save a manifest as {MANIFEST_SUFFIXES[0]}",
        reason="unsupported",
    )


_COCO_KEYS = ("images", "annotations", "categories")


def _is_openimages(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            header = next(csv.reader([file.readline(2**16)]), [])
        except csv.Error:
            return False
    columns = {field.strip().lower() for field in header}
    return {"imageid", "labelname"} <= columns and "image" not in columns
