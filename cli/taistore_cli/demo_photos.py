"""Real photos for the demo: those that scikit-image and scikit-learn carry, alone and combined.

A composite puts photos side by side, so its labels are known exactly: all that its parts show.
"""

import itertools
import json
import random
from pathlib import Path

from PIL import Image, ImageOps

from taistore._extras import require

PARTS: dict[str, tuple[str, ...]] = {
    "astronaut.png": ("person", "rocket"),
    "brick.png": (),
    "camera.png": ("person", "camera"),
    "chelsea.png": ("cat",),
    "china.jpg": ("pagoda",),
    "coffee.png": ("cup", "spoon"),
    "flower.jpg": ("flower",),
    "grass.png": (),
    "motorcycle_left.png": ("motorcycle",),
    "rocket.jpg": ("rocket",),
}
"""Photo and the demo labels that it shows; those without any only fill a composite."""

ABSENT = ("dog", "horse", "bicycle", "car", "chair", "bottle", "train", "boat", "bird", "pizza")
"""Labels that no photo shows: a tagger must leave them out."""

TILE = (320, 280)
SEED = 7


def demo_labels() -> list[str]:
    """The demo's label names: those shown by a photo, then those that none shows."""
    shown = sorted({name for names in PARTS.values() for name in names})
    return shown + list(ABSENT)


def write_demo_photos(folder: Path, *, pairs: int = 30, fours: int = 18) -> Path:
    """Write single photos, pairs and fours below ``folder``; returns their manifest.

    Raises MissingExtraError naming ``taistore[demo]`` where the photos are not installed.
    """
    parts = {name: _load(name) for name in PARTS}
    chooser = random.Random(SEED)
    groups: list[tuple[str, ...]] = [(name,) for name, labels in PARTS.items() if labels]
    for size, count in ((2, pairs), (4, fours)):
        groups += chooser.sample(list(itertools.combinations(PARTS, size)), count)
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    manifest = folder / "photos.jsonl"
    with manifest.open("w", encoding="utf-8") as rows:
        for number, group in enumerate(groups):
            names = "+".join(Path(name).stem for name in group)
            path = folder / "photos" / f"{number:02d}-{names}.jpg"
            _compose([parts[name] for name in group], chooser).save(path, quality=90)
            labels = sorted({label for name in group for label in PARTS[name]})
            image = path.relative_to(folder).as_posix()
            rows.write(json.dumps({"image": image, "labels": labels, "split": "test"}) + "\n")
    return manifest


def _load(name: str) -> Image.Image:
    purpose = "the demo's photos"
    if name in {"china.jpg", "flower.jpg"}:
        package = require("sklearn.datasets", extra="demo", purpose=purpose)
        folder = Path(str(package.__file__)).parent / "images"
    else:
        package = require("skimage.data", extra="demo", purpose=purpose)
        folder = Path(str(package.__file__)).parent
    with Image.open(folder / name) as image:
        return image.convert("RGB")


def _compose(photos: list[Image.Image], chooser: random.Random) -> Image.Image:
    """One photo as it is; two side by side; four in a square. Parts are mirrored at random."""
    if len(photos) == 1:
        return photos[0]
    varied = [ImageOps.mirror(p) if chooser.random() < 0.5 else p for p in photos]
    chooser.shuffle(varied)
    canvas = Image.new("RGB", (2 * TILE[0], TILE[1] * (len(photos) // 2)))
    for place, photo in enumerate(varied):
        tile = ImageOps.fit(photo, TILE)
        canvas.paste(tile, (place % 2 * TILE[0], place // 2 * TILE[1]))
    return canvas
