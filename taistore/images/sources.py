"""From a path that a user gives to the source of images that it means.

A further kind of source (COCO, VOC, NUS-WIDE, OpenImages annotations) is a class that keeps
:class:`ImageSource`, and a line in :func:`open_source`.
"""

from pathlib import Path

from taistore.errors import ImageError
from taistore.images.folder import FolderSource, has_image_suffix
from taistore.images.items import Annotation, ImageSource, Reject, SourceImage
from taistore.images.manifest import MANIFEST_SUFFIXES, ManifestSource
from taistore.labels import LabelSet

__all__ = [
    "Annotation",
    "FolderSource",
    "ImageSource",
    "ManifestSource",
    "Reject",
    "SourceImage",
    "open_source",
]


def open_source(path: str | Path, labels: LabelSet) -> ImageSource:
    """The source for a folder, a manifest (.jsonl, .csv, .parquet) or a single image file.

    Raises :class:`ImageError` when there is nothing at ``path`` or nothing that can be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return FolderSource(path)
        there = path.exists()
    except OSError as error:
        raise ImageError(
            f"{path}: cannot be reached: {error.strerror}: check the path", reason="unreadable"
        ) from None
    if not there:
        raise ImageError(f"{path}: no such folder or file: check the path", reason="missing")
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        return ManifestSource(path, labels)
    if has_image_suffix(path.name):
        return FolderSource(path)
    raise ImageError(
        f"{path}: neither a folder, a manifest ({', '.join(MANIFEST_SUFFIXES)}) nor an image",
        reason="not_an_image",
    )
