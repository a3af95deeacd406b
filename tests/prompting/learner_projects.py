"""A small real project whose encoder has a promptable tower: an open_clip model from a file.

Shapes: D embedding dimension, G region grid.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

import taistore
from taistore.project import Project
from taistore.synthetic.image_writer import synthetic_id
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


def add_synthetic(
    project: Project, *, per_text: int = 2, grid: int = 2, regions: bool = True
) -> int:
    """Pictures of the colours that each text names, as a job would have stored them; how many."""
    encoder, store = project.encoder(), project.store
    encoder_id = encoder.info.encoder_id
    combinations = {
        row["combination_id"]: [project.labels[label].name for label in row["label_ids"]]
        for batch in store.scan("combinations")
        for row in batch.to_pylist()
    }
    texts = [row for batch in store.scan("texts") for row in batch.to_pylist()]
    wanted = [(row, number) for row in texts for number in range(per_text)]
    there = {synthetic_id(row["text_id"], number): (row, number) for row, number in wanted}
    new = store.missing("synthetic_vectors", list(there), encoder_id=encoder_id)
    pixels = []
    for one in new:
        colours = np.asarray(colour_image(*combinations[there[one][0]["combination_id"]]))
        noise = np.random.default_rng(list(one.encode())).integers(0, 60, colours.shape)
        drawn = Image.fromarray((0.75 * colours + noise).astype(np.uint8))
        pixels.append(encoder.prepare(drawn))
    made = encoder.encode_images(np.stack(pixels), regions=grid)
    assert made.regions is not None
    shared = {
        "synthetic_id": new,
        "text_id": [there[one][0]["text_id"] for one in new],
        "number": [there[one][1] for one in new],
        "combination_id": [there[one][0]["combination_id"] for one in new],
        "content": [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pixels],
    }
    own = {"writer": ["folder"] * len(new), "model": [None] * len(new), "seed": [None] * len(new)}
    whole = {**shared, **own, "vector": list(made.whole.astype(np.float16))}
    store.append("synthetic_vectors", whole, encoder_id=encoder_id)
    if regions:
        cells = [one.astype(np.float16).reshape(-1) for one in made.regions]
        parts = {**shared, "grid": [grid] * len(new), "vectors": cells}
        store.append("synthetic_regions", parts, encoder_id=encoder_id)
    return len(new)
