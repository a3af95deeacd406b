"""Real photos for the demo: those that scikit-image and scikit-learn carry, alone and combined.

A composite puts photos side by side, so its labels are known exactly: all that its parts show.
"""

import json
import random
from pathlib import Path

from PIL import Image, ImageOps

from taistore._extras import require

PARTS: dict[str, tuple[str, ...]] = {
    "astronaut.png": ("person", "rocket", "flag"),
    "brick.png": ("brick wall",),
    "camera.png": ("person", "camera", "grass"),
    "chelsea.png": ("cat",),
    "china.jpg": ("pagoda", "tree"),
    "coffee.png": ("cup", "spoon"),
    "coins.png": ("coin",),
    "flower.jpg": ("flower",),
    "grass.png": ("grass",),
    "motorcycle_left.png": ("motorcycle",),
    "page.png": ("page of text",),
    "rocket.jpg": ("rocket",),
}
"""Photo and the labels that it shows."""

ABSENT = ("dog", "horse", "bicycle", "car", "chair", "bottle", "train", "boat", "bird", "pizza")
"""Labels that no photo shows: a tagger must leave them out."""

HEIGHT = 320
SEED = 7


def demo_labels() -> list[str]:
    """The demo's label names: those shown by a photo, then those that none shows."""
    shown = sorted({name for names in PARTS.values() for name in names})
    return shown + list(ABSENT)


def write_demo_photos(folder: Path, *, pairs: int = 30, triples: int = 18) -> Path:
    """Write single, paired and tripled photos below ``folder``; returns their manifest.

    Raises MissingExtraError naming ``taistore[demo]`` where the photos are not installed.
    """
    parts = {name: _load(name) for name in PARTS}
    chooser = random.Random(SEED)
    groups: list[tuple[str, ...]] = [(name,) for name in PARTS]
    groups += [tuple(chooser.sample(list(PARTS), 2)) for _ in range(pairs)]
    groups += [tuple(chooser.sample(list(PARTS), 3)) for _ in range(triples)]
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    manifest = folder / "photos.jsonl"
    with manifest.open("w", encoding="utf-8") as rows:
        for number, group in enumerate(groups):
            names = "+".join(Path(name).stem for name in group)
            path = folder / "photos" / f"{number:02d}-{names}.jpg"
            photos = [_vary(parts[name], chooser, alone=len(group) == 1) for name in group]
            _side_by_side(photos).save(path, quality=90)
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


def _vary(photo: Image.Image, chooser: random.Random, *, alone: bool) -> Image.Image:
    if not alone and chooser.random() < 0.5:
        photo = ImageOps.mirror(photo)
    return photo.resize((round(photo.width * HEIGHT / photo.height), HEIGHT))


def _side_by_side(photos: list[Image.Image]) -> Image.Image:
    canvas = Image.new("RGB", (sum(photo.width for photo in photos), HEIGHT))
    left = 0
    for photo in photos:
        canvas.paste(photo, (left, 0))
        left += photo.width
    return canvas
