"""From a path that a user gives to the source of images that it means.

Another package adds a kind of source by an entry point of ``taistore.sources``: a factory that is
called with the path and the label set, and returns an
:class:`~taistore.images.sources.source.ImageSource`. The entry point's name is its ``layout``.
"""

from collections.abc import Mapping
from pathlib import Path

from taistore import plugins
from taistore.errors import ImageError
from taistore.images.sources.detection import FORMATS, detect
from taistore.images.sources.folder import FolderSource
from taistore.images.sources.manifest import MANIFEST_SUFFIXES, ManifestSource
from taistore.images.sources.plugin_source import GROUP, open_plugin_source
from taistore.images.sources.published.coco import CocoSource, Crowd
from taistore.images.sources.published.nuswide import NusWideSource
from taistore.images.sources.published.openimages import OpenImagesSource
from taistore.images.sources.published.voc import Difficult, VocSource
from taistore.images.sources.source import Annotation, ImageSource, SourceImage
from taistore.labels import LabelSet

__all__ = [
    "FORMATS",
    "Annotation",
    "CocoSource",
    "FolderSource",
    "ImageSource",
    "ManifestSource",
    "NusWideSource",
    "OpenImagesSource",
    "SourceImage",
    "VocSource",
    "no_images",
    "open_source",
    "skipped_of",
]


def open_source(
    path: str | Path,
    labels: LabelSet,
    *,
    layout: str = "auto",
    photos: str | Path | None = None,
    crowd: Crowd | None = None,
    difficult: Difficult | None = None,
    split: str | None = None,
) -> ImageSource:
    """The source for a folder, an image file, a manifest or the annotations of a data set.

    ``layout`` is one of :data:`FORMATS`, or another package's; "auto" tells from the structure.
    ``photos`` is the folder of a data set's photos, ``crowd`` (COCO) and ``difficult`` (VOC) say
    what such objects count as, and ``split`` picks one of a data set's own lists (VOC, NUS-WIDE),
    or names the split of all images where it has none. Raises :class:`ImageError` when there is
    nothing at ``path``, nothing that can be read, or an option that this layout does not have,
    and :class:`PluginError` where another package's source cannot be opened.
    """
    path = Path(path)
    layout = detect(path) if layout == "auto" else layout
    given = {"photos": photos, "crowd": crowd, "difficult": difficult}
    for name, value in given.items():
        if value is not None and layout not in _OPTIONS[name]:
            raise ImageError(
                f"{path}: {name}= is for {' and '.join(_OPTIONS[name])}, and this was read as "
                f"{layout}: leave it out, or name another layout=",
                reason="unsupported",
            )
    match layout:
        case "coco":
            return CocoSource(path, labels, photos=photos, crowd=crowd or "positive", split=split)
        case "voc":
            return VocSource(
                path, labels, photos=photos, difficult=difficult or "ignore", split=split
            )
        case "nuswide":
            return NusWideSource(path, labels, photos=photos, split=split)
        case "openimages":
            return OpenImagesSource(path, labels, photos=photos, split=split)
        case "manifest":
            if path.suffix.lower() not in MANIFEST_SUFFIXES:
                raise ImageError(
                    f"{path}: a manifest is a file {', '.join(MANIFEST_SUFFIXES)}: save it as one",
                    reason="unsupported",
                )
            return ManifestSource(path, labels)
        case "folder":
            return FolderSource(path)
    return _from_plugin(layout, path, labels)


def skipped_of(source: ImageSource) -> Mapping[str, int]:
    """Files of a folder that may be photos and were not read, by kind; other sources have none."""
    return source.skipped if isinstance(source, FolderSource) else {}


def no_images(source: ImageSource) -> ImageError:
    """The error of a source that was read and has none."""
    told = "".join(f"; {note}" for note in source.notes) if skipped_of(source) else ""
    return ImageError(
        f"{source.name}: no images here ({source.ignored} other files{told}): give a folder of "
        ".jpg, .png, .webp, … files or a manifest",
        reason="no_images",
    )


def _from_plugin(layout: str, path: Path, labels: LabelSet) -> ImageSource:
    there = [*FORMATS, *plugins.names(GROUP)]
    if layout not in there:
        raise ImageError(
            f"{path}: there is no layout={layout} of images: use {', '.join(there)}",
            reason="unsupported",
        )
    return open_plugin_source(layout, path, labels)


_OPTIONS = {
    "photos": ("coco", "voc", "nuswide", "openimages"),
    "crowd": ("coco",),
    "difficult": ("voc",),
}
"""Which layouts have an option."""
