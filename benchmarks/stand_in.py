"""A stand-in for a store of real CLIP photos, of which there are none here: no photo set.

Seeded mixtures of the CLIP ViT-B/32 exemplar vectors in ``../shared/data/clip-vit-b-32``: each of 1
to 7 classes that are COCO labels and of three other LVIS classes, with noise. It has what real CLIP
has and the packaged encoder has not: a gap of about 1 between texts and images. Shapes: S images, D
embedding dimension.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import taistore
from taistore.project import Project

NAME = "clip-vit-b-32"
_MOST_LABELS = 7
_OTHERS = 3
_NOISE = 0.4
"""Of the length of a mixture; its cosine to the nearest exemplar is then 0.86."""


class Classes(NamedTuple):
    """The COCO labels that LVIS has too, with their rows among its classes."""

    names: list[str]
    rows: NDArray[np.int64]


def classes(data: Path) -> Classes:
    """By equal name; LVIS writes underscores and remarks in brackets."""
    lvis = (data / NAME / "lvis1203-names.txt").read_text(encoding="utf-8").splitlines()
    row_of = {name.replace("_", " ").split(" (")[0]: row for row, name in enumerate(lvis)}
    coco = (data / "coco" / "classes.csv").read_text(encoding="utf-8").splitlines()[1:]
    names = [name for name in (line.split(",", 1)[1] for line in coco) if name in row_of]
    return Classes(names, np.array([row_of[name] for name in names]))


def mixtures(
    exemplars_CD: NDArray[np.float32], rows: NDArray[np.int64], *, images: int, seed: int
) -> tuple[NDArray[np.float32], list[list[int]]]:
    """Vectors [S, D] and the labels of each."""
    rng = np.random.default_rng(seed)
    others = np.setdiff1d(np.arange(len(exemplars_CD)), rows)
    vectors, labels = [], []
    for _ in range(images):
        shown = rng.choice(len(rows), rng.integers(1, _MOST_LABELS + 1), replace=False)
        parts = np.concatenate([rows[shown], rng.choice(others, _OTHERS, replace=False)])
        weights = rng.uniform(0.3, 1.0, len(parts))
        mixed_D = weights @ exemplars_CD[parts] / weights.sum()
        noise_D = rng.standard_normal(len(mixed_D))
        noise_D *= _NOISE * np.linalg.norm(mixed_D) / np.linalg.norm(noise_D)
        vectors.append(mixed_D + noise_D)
        labels.append(sorted(int(label) for label in shown))
    return np.stack(vectors).astype(np.float32), labels


def make(data: Path, folder: Path, *, images: int, seed: int) -> Project:
    """A store with half of the images in the split train, half in test, and a text a label."""
    found = classes(data)
    exemplars_CD = np.load(data / NAME / "image-exemplar-lvis1203.npy").astype(np.float32)
    texts_CD = np.load(data / NAME / "text-lvis1203.npy").astype(np.float32)
    vectors_SD, labels = mixtures(exemplars_CD, found.rows, images=images, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    project = taistore.create(folder / "store", labels=found.names, encoder=f"vectors:{NAME}")
    np.save(folder / "texts.npy", texts_CD[found.rows])
    (folder / "names.txt").write_text("\n".join(found.names) + "\n", encoding="utf-8")
    project.ingest_text_vectors(
        folder / "texts.npy", name=NAME, ids=folder / "names.txt", template="a {}"
    )
    for split, part in (("train", slice(0, images // 2)), ("test", slice(images // 2, images))):
        np.save(folder / f"{split}.npy", vectors_SD[part])
        lines = [
            json.dumps({"id": f"{split}-{number}.jpg", "labels": [found.names[n] for n in shown]})
            for number, shown in enumerate(labels[part])
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        project.ingest_image_vectors(
            folder / f"{split}.npy", name=NAME, ids=folder / f"{split}.jsonl", split=split
        )
    return project
