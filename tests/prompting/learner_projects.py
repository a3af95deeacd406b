"""A small real project whose encoder has a promptable tower: an open_clip model from a file."""

import json
from pathlib import Path

import taistore
from taistore.project import Project
from tests.encoders import small_models
from tests.fakes import colour_image

COLOURS = ("red", "green", "blue", "yellow")
PAIRS = [(one, other) for one in COLOURS for other in COLOURS if one != other]


def make_project(folder: Path, *, regions: int = 2, texts: int = 60) -> Project:
    """Twelve labelled photos to train on, twelve to test on, and texts."""
    weights = small_models.save("small-resnet", folder)
    photos = folder / "photos"
    photos.mkdir()
    for split in ("train", "test"):
        lines = []
        for number, (one, other) in enumerate(PAIRS):
            name = f"{split}-{one}-{other}.png"
            size = (60 + number, 48 if split == "train" else 50)
            colour_image(one, other, size=size).save(photos / name)
            lines.append(json.dumps({"image": f"photos/{name}", "labels": [one, other]}))
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    project = taistore.create(
        folder / "store",
        labels=list(COLOURS),
        encoder=f"open_clip:small-resnet/{weights}",
        device="cpu",
    )
    for split in ("train", "test"):
        project.ingest_images(folder / f"{split}.jsonl", regions=regions, split=split)
    project.generate_texts(texts)
    return project
