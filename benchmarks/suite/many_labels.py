"""Real photos under thousands of labels: mAP over the columns that are annotated.

The labels of VOC2012 and COCO among those of OpenImages, template captions, and the photos of
``../shared/data`` as whole images. Trained on texts alone.
"""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import taistore
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.labels import Label, LabelSet
from taistore.project import Project
from taistore.scoring.loaded_run import open_run
from taistore.store.partial_labels import PartialLabels

DATA = Path(os.environ.get("TAISTORE_DATA", "../shared/data"))
SETS = ("voc2012", "coco")
LABELS = 7186
ENCODER = "packaged:lite0@224"
TEXTS = 18_000


def label_names() -> list[str]:
    """Names of both sets, then of OpenImages until there are :data:`LABELS`, each name once."""
    files = [DATA / name / "classes.csv" for name in SETS]
    names: dict[str, str] = {}
    for path in (*files, DATA / "labels" / "openimages-trainable.csv"):
        with path.open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                if len(names) < LABELS:
                    names.setdefault(_plain(row["name"]), row["name"])
    return list(names.values())


def prepared(folder: Path) -> tuple[Project, dict[str, Project]]:
    """A project of all labels with captions, and one of each set with its photos."""
    names = label_names()
    many = LabelSet(Label(f"k{number}", name) for number, name in enumerate(names))
    project = taistore.create(folder / "many", labels=many, encoder=ENCODER, device="cpu")
    project.generate_texts(TEXTS)
    photos = {}
    for name in SETS:
        labels = DATA / name / "classes.csv"
        own = taistore.create(folder / name, labels=labels, encoder=ENCODER, device="cpu")
        own.ingest_images(DATA / name / "labels.jsonl", regions=0)
        photos[name] = own
    return project, photos


def maps(
    project: Project, photos: dict[str, Project], *, seeds: Sequence[int], sampled_labels: int
) -> dict[str, float]:
    """Macro mAP in percent of each set, step ``adapter``, mean over ``seeds``."""
    names = [_plain(label.name) for label in project.labels]
    found: dict[str, list[float]] = {name: [] for name in photos}
    for seed in seeds:
        run = project.train(task="zsl", shift="none", seed=seed, sampled_labels=sampled_labels)
        ladder = open_run(project.store, run.run_id).ladder
        for name, own in photos.items():
            columns = [names.index(_plain(label.name)) for label in own.labels]
            known = PartialLabels.read(own.store)
            vectors = own.image_vectors(known.image_ids.astype(str))
            scores_IN = ladder.scores(vectors, steps=["adapter"])["adapter"].numpy()[:, columns]
            each_N = average_precision(scores_IN, _truth(known))
            found[name].append(100 * mean_average_precision(each_N))
    return {name: float(np.mean(values)) for name, values in found.items()}


def _truth(known: PartialLabels) -> NDArray[np.int8]:
    truth_IN = np.zeros((len(known), known.labels), dtype=np.int8)
    truth_IN[known.positives.rows, known.positives.label_ids] = 1
    return truth_IN


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("-", " ").replace("_", " ").split())
