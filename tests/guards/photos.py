"""Photos with known labels, put together from those that scikit-image and scikit-learn carry.

A composite shows crops of two, four or nine photos side by side, so its labels are known: all that
its parts show. Small, cut and mirrored parts, and names that the packaged encoder hardly knows,
keep every step of the ladder well below 100.
"""

import json
import random
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageOps

PARTS: dict[str, tuple[str, ...]] = {
    "skimage/data/astronaut.png": ("person", "flag", "helmet"),
    "skimage/data/brick.png": ("brick",),
    "skimage/data/camera.png": ("person", "camera", "tripod"),
    "skimage/data/chelsea.png": ("cat",),
    "skimage/data/coffee.png": ("cup", "spoon", "table"),
    "skimage/data/coins.png": ("coin",),
    "skimage/data/grass.png": ("grass",),
    "skimage/data/gravel.png": ("stone",),
    "skimage/data/horse.png": ("horse",),
    "skimage/data/motorcycle_left.png": ("motorcycle", "wheel"),
    "skimage/data/page.png": ("text",),
    "skimage/data/rocket.jpg": ("rocket", "tower"),
    "skimage/data/text.png": ("text",),
    "sklearn/datasets/images/china.jpg": ("pagoda", "tree"),
    "sklearn/datasets/images/flower.jpg": ("flower",),
}
"""Where a photo lies among the installed packages, and what it shows."""

ABSENT = ("dog", "bicycle", "car", "bottle", "bird")
"""Labels that no photo shows."""

LABELS = (*sorted({name for names in PARTS.values() for name in names}), *ABSENT)
COUNTS = {2: 20, 4: 40, 9: 40}
"""Composites by the number of their parts."""

TILE = (240, 200)
SEED = 11


def write_photos(folder: Path) -> tuple[Path, Path]:
    """Write all composites below ``folder``; returns their manifest and the list of labels."""
    parts = {name: _load(name) for name in PARTS}
    chooser = random.Random(SEED)
    groups = [
        chooser.sample(list(PARTS), size) for size, count in COUNTS.items() for _ in range(count)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, group in enumerate(groups):
        name = f"{number:03d}.png"
        _compose([parts[part] for part in group], chooser).save(folder / name)
        shown = sorted({label for part in group for label in PARTS[part]})
        rows.append(json.dumps({"image": name, "labels": shown, "split": "test"}))
    manifest, labels = folder / "photos.jsonl", folder / "labels.txt"
    manifest.write_text("\n".join(rows) + "\n", encoding="utf-8")
    labels.write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    return manifest, labels


def _load(name: str) -> Image.Image:
    package, _, rest = name.partition("/")
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{name}: {package} is not installed: pip install 'taistore[demo]'")
    with Image.open(Path(spec.origin).parent / rest) as image:
        return image.convert("RGB")


def _compose(photos: list[Image.Image], chooser: random.Random) -> Image.Image:
    """Crops of the photos in one, two or three rows."""
    columns = {2: 2, 4: 2, 9: 3}[len(photos)]
    rows = len(photos) // columns
    canvas = Image.new("RGB", (columns * TILE[0], rows * TILE[1]))
    for place, photo in enumerate(photos):
        part = photo.crop(_window(photo.size, chooser))
        tile = ImageOps.fit(ImageOps.mirror(part) if chooser.random() < 0.5 else part, TILE)
        canvas.paste(tile, (place % columns * TILE[0], place // columns * TILE[1]))
    return canvas


def _window(size: tuple[int, int], chooser: random.Random) -> tuple[int, int, int, int]:
    """A part of 70 to 100 % of each side, as left, top, right and bottom."""
    width, height = (round(side * chooser.uniform(0.7, 1)) for side in size)
    left, top = chooser.randint(0, size[0] - width), chooser.randint(0, size[1] - height)
    return left, top, left + width, top + height
