"""On real photos: promises fitted on random halves are kept on the others, and tags get better."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import bdtr

import taistore
from taistore.evaluation.calibration.precision_cuts import precision_cut
from taistore.evaluation.labelled_scores import Scope, labelled_split
from taistore.scoring.cuts.image_share import stands_out
from taistore.scoring.ladders.ladder import confidence

PHOTOS, HALVES = 240, 20
PROMISED = 0.5
"""A half holds some ten photos of a label, too few for much more."""


class Scored(NamedTuple):
    """Scores of the ensemble [I, N] and what the photos show."""

    scores: NDArray[np.float32]
    truth: NDArray[np.int8]


@pytest.fixture(scope="module")
def photos(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Scored:
    """Photos of VOC2012, whole, by a small encoder and a run that read no label of any."""
    source, folder = shared_data / "voc2012", tmp_path_factory.mktemp("held-out")
    lines = (source / "labels.jsonl").read_text(encoding="utf-8").splitlines()[:PHOTOS]
    rows = [json.loads(line) for line in lines]
    text = "".join(
        json.dumps({**row, "image": str(source / row["image"]), "split": "test"}) + "\n"
        for row in rows
    )
    (folder / "photos.jsonl").write_text(text, encoding="utf-8")
    project = taistore.create(
        folder / "store", labels=source / "classes.csv", encoder="packaged:lite0@224"
    )
    project.ingest_images(folder / "photos.jsonl")
    project.generate_texts(400)
    run = project.train(task="zsl", epochs=4)
    split = labelled_split(project.store, run.run_id, Scope(split="test"))
    batches = [batch for batch in split.batches() if batch.scores]
    return Scored(
        np.concatenate([batch.scores["ensemble"] for batch in batches]),
        np.concatenate([batch.truth_BN for batch in batches]),
    )


def test_promises_are_kept_on_the_other_half(photos: Scored) -> None:
    made = fine = tags = right = 0
    for seed in range(HALVES):
        order = np.random.default_rng(seed).permutation(PHOTOS)
        fit, check = order[: PHOTOS // 2], order[PHOTOS // 2 :]
        for n in range(photos.truth.shape[1]):
            cut = precision_cut(
                photos.scores[fit, n], photos.truth[fit, n], precision=PROMISED, confidence=0.9
            )
            if cut is None:
                continue
            tagged = photos.scores[check, n] >= cut.threshold
            if tagged.any():
                hits = int(photos.truth[check, n][tagged].sum())
                made, fine = made + 1, fine + (bdtr(hits, int(tagged.sum()), PROMISED) >= 0.05)
                tags, right = tags + int(tagged.sum()), right + hits
    assert made >= HALVES
    assert fine >= 0.9 * made
    assert right >= PROMISED * tags


def test_the_default_cut_is_better_than_five_tags(photos: Scored) -> None:
    best = confidence("ensemble", torch.from_numpy(photos.scores)).topk(20, dim=1)
    there = torch.ones_like(best.values, dtype=torch.bool)
    chosen = torch.zeros(photos.scores.shape, dtype=torch.bool)
    chosen.scatter_(1, best.indices, stands_out(best.values, there))
    fifth = np.sort(photos.scores, axis=1)[:, -5, None]

    def f1(tags: NDArray[np.bool_]) -> float:
        return float(2 * (tags & (photos.truth == 1)).sum() / (tags.sum() + photos.truth.sum()))

    assert f1(chosen.numpy()) > f1(photos.scores >= fifth) + 0.05
