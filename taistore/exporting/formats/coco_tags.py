"""COCO's JSON with annotations of whole images: a category and a score, no box."""

import contextlib
import os
import warnings
from pathlib import Path
from typing import Any

from PIL import Image

from taistore.exporting.formats.safe_names import class_names
from taistore.exporting.tagged_photos import TaggedPhotos
from taistore.progress import ProgressBar


def coco_tags(photos: TaggedPhotos, *, bar: ProgressBar) -> dict[str, Any]:
    """The file. ``file_name`` is below the folder that holds all photos, as COCO has it.

    Width and height are those of the file, and are left out where it cannot be read.
    """
    folder = photos.folder()
    names = class_names(photos.labels())
    numbers = {key: number for number, key in enumerate(names, start=1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, photo in enumerate(photos, start=1):
        path = os.path.abspath(photo.uri)  # noqa: PTH100
        images.append(
            {
                "id": number,
                "file_name": os.path.relpath(path, folder),
                **_size(path),
                "taistore_image_id": photo.image_id,
            }
        )
        annotations += [
            {
                "id": len(annotations) + place,
                "image_id": number,
                "category_id": numbers[tag.key],
                "score": round(tag.score, 6),
            }
            for place, tag in enumerate(photo.tags, start=1)
        ]
        bar.advance()
    return {
        "info": {"description": f"Tags by taistore, run {photos.run}", "folder": folder},
        "licenses": [],
        "images": images,
        "categories": [
            {"id": numbers[key], "name": name, "supercategory": "", "taistore_key": key}
            for key, name in names.items()
        ],
        "annotations": annotations,
    }


def _size(path: str) -> dict[str, int]:
    # Only the head of the file is read.
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(Path(path)) as image:
            return {"width": image.width, "height": image.height}
    return {}
