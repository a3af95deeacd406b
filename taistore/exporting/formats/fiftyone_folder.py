"""A folder for FiftyOne: its FiftyOneImageClassificationDataset, with several labels a photo.

``labels.json`` has the labels, ``data.json`` says where the photos are, which stay there.
"""

import os
from pathlib import Path
from typing import Any

from taistore.exporting.formats.output_files import write_json
from taistore.exporting.formats.safe_names import class_names
from taistore.exporting.tagged_photos import TaggedPhotos
from taistore.progress import ProgressBar


def write_fiftyone(photos: TaggedPhotos, folder: Path, *, bar: ProgressBar) -> None:
    """Fill a folder; a sample is called by its number, as names of photos may repeat."""
    names = class_names(photos.labels())
    labels: dict[str, list[dict[str, Any]]] = {}
    places: dict[str, str] = {}
    for number, photo in enumerate(photos, start=1):
        sample = f"{number:08d}"
        places[sample] = os.path.abspath(photo.uri)  # noqa: PTH100
        labels[sample] = [
            {
                "label": names[tag.key],
                "confidence": round(tag.score, 6),
                "attributes": {"run": photos.run},
            }
            for tag in photo.tags
        ]
        bar.advance()
    write_json(folder / "data.json", places)
    # FiftyOne takes labels for numbers of classes where it is given a list of these.
    write_json(folder / "labels.json", {"classes": None, "labels": labels})
