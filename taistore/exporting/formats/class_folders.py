"""A folder a label with the photos that have it, as torchvision's and Hugging Face's loaders read.

A photo with several labels is in several folders. Links lead to the photos where they are.
"""

import os
import shutil
from pathlib import Path

from taistore.exporting.formats.safe_names import folder_names, photo_names
from taistore.exporting.tagged_photos import TaggedPhotos
from taistore.progress import ProgressBar


def write_class_folders(
    photos: TaggedPhotos, folder: Path, *, copy: bool, bar: ProgressBar
) -> None:
    """Fill ``folder``; with ``copy`` photos are copied, with their times. Raises OSError."""
    folders = folder_names(photos.labels())
    names = photo_names(photo.uri for photo in photos)
    for name in folders.values():
        (folder / name).mkdir()
    for photo in photos:
        path = Path(os.path.abspath(photo.uri))  # noqa: PTH100
        for tag in photo.tags:
            place = folder / folders[tag.key] / names[photo.uri]
            if copy:
                shutil.copy2(path, place)
            else:
                place.symlink_to(path)
        bar.advance()
