"""Tasks for Label Studio with our tags as predictions, and the labelling configuration for them."""

import os
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from taistore.exporting.formats.safe_names import class_names
from taistore.exporting.tagged_photos import TaggedPhoto, TaggedPhotos
from taistore.progress import ProgressBar

_SERVED = "/data/local-files/?d="
"""How Label Studio serves files below LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT."""


def label_studio_tasks(
    photos: TaggedPhotos, *, root: str, bar: ProgressBar
) -> list[dict[str, Any]]:
    """A task a photo; ``root`` is the folder that Label Studio serves."""
    names = class_names(photos.labels())
    tasks = []
    for photo in photos:
        tasks.append(_task(photo, names, run=photos.run, root=root))
        bar.advance()
    return tasks


def labelling_config(photos: TaggedPhotos) -> str:
    """The XML for a project that these tasks are imported into: a photo and its choices."""
    choices = "".join(
        f"    <Choice value={quoteattr(name)}/>\n" for name in class_names(photos.labels()).values()
    )
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
        f'  <Choices name="tags" toName="image" choice="multiple">\n{choices}  </Choices>\n'
        "</View>\n"
    )


def _task(photo: TaggedPhoto, names: dict[str, str], *, run: str, root: str) -> dict[str, Any]:
    path = os.path.abspath(photo.uri)  # noqa: PTH100
    scores = {names[tag.key]: round(tag.score, 6) for tag in photo.tags}
    task: dict[str, Any] = {
        "data": {
            "image": _SERVED + quote(os.path.relpath(path, root), errors="surrogateescape"),
            "path": path,
            "image_id": photo.image_id,
            # A prediction has one score; these are the tags' own.
            "scores": scores,
        },
        "predictions": [],
    }
    if scores:
        result = {
            "id": "tags",
            "from_name": "tags",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": list(scores)},
        }
        mean = round(sum(scores.values()) / len(scores), 6)
        task["predictions"] = [{"model_version": run, "score": mean, "result": [result]}]
    return task
