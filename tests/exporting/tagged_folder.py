"""Photos in folders and files of their tags, and programs that are killed while they export."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.fakes import colour_image

Tags = Mapping[str, Sequence[tuple[str, float]]]

PHOTOS = ("a/1.jpg", "a/2.jpg", "b/1.jpg")


def make_photos(folder: Path, names: Sequence[str] = PHOTOS) -> Path:
    """Small photos of these names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour_image("red").save(path)
    return folder


def tag_file(path: Path, folder: Path, tags: Tags) -> Path:
    """A file of tags of photos in a folder, as ``taistore score`` writes it."""
    rows = [
        {
            "image_id": hashlib.sha256(photo.encode()).hexdigest()[:16],
            "uri": str(folder / photo),
            "rank": rank,
            "label_key": name,
            "label_name": name,
            "score": score,
        }
        for photo, given in tags.items()
        for rank, (name, score) in enumerate(given, start=1)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The bytes and the time of every file below a folder."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
