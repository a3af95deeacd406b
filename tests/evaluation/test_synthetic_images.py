"""Evaluation on synthetic images: their labels, their regions, and which of them are read.

B images, D dimension, M synthetic images, N labels, R regions.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from taistore.adapter.config import TrainConfig
from taistore.adapter.train import train
from taistore.evaluation import label_columns
from taistore.evaluation.evaluate import evaluate
from taistore.evaluation.labelled_scores import LabelledSplit, Scope, labelled_split
from taistore.labels import ABSENT, PRESENT
from taistore.scoring.ladders.ladder import Ladder, Step
from taistore.scoring.loaded_run import open_run
from taistore.store.arrow import vector_column
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, add_images, add_synthetic, prompt_vectors, text_store

N, D, R = 6, 16, 4


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two synthetic images of each of 40 texts, photos of split test, and a run."""
    store = text_store(tmp_path / "s", rows=60)
    add_images(store, count=30, split="test")
    add_synthetic(store, texts=40)
    add_synthetic(store, texts=40, number=1)
    config = TrainConfig(shift="none", epochs=2, batch=16)
    train(store, ENCODER_ID, config, prompts_ND=prompt_vectors(N))
    return store


def rows(store: Store) -> list[dict[str, Any]]:
    batches = store.scan("synthetic_vectors", encoder_id=ENCODER_ID)
    return [row for batch in batches for row in batch.to_pylist()]


def add_regions(store: Store, chosen: list[dict[str, Any]], **changes: Any) -> None:
    """Random regions of these images."""
    random = np.random.default_rng(3)
    cells = random.standard_normal((len(chosen), R * D)).astype(np.float16)
    names = ("synthetic_id", "text_id", "number", "combination_id", "content")
    columns = {name: [row[name] for row in chosen] for name in names} | changes
    columns["number"] = pa.array(columns["number"], pa.int32())
    columns["grid"] = pa.array([2] * len(chosen), pa.int16())
    table = pa.table({**columns, "vectors": vector_column(cells)})
    store.upsert("synthetic_regions", table, encoder_id=ENCODER_ID)


def opened(store: Store) -> LabelledSplit:
    return labelled_split(store, store.runs()[-1].run_id, Scope(split=None))


def test_each_image_shows_the_labels_of_its_text_and_no_other(store: Store) -> None:
    index = store.combination_index()
    expected = {
        row["synthetic_id"]: set(index.positives(np.array([row["combination_id"]]))[1].tolist())
        for row in rows(store)
    }
    seen: dict[str, set[int]] = {}
    for batch in opened(store).batches():
        assert set(np.unique(batch.truth_BN)) == {ABSENT, PRESENT}
        for one, truth_N in zip(batch.image_ids, batch.truth_BN, strict=True):
            seen[one.decode()] = set(np.flatnonzero(truth_N == PRESENT).tolist())
    assert seen == expected
    assert len(seen) == 80, "ids of the two images of a text are told apart"


def test_scores_are_those_of_their_vectors_and_regions(store: Store) -> None:
    stored = rows(store)
    add_regions(store, stored[:25])
    ladder: Ladder = open_run(store, store.runs()[-1].run_id).ladder
    split = opened(store)
    assert split.regions
    regions = {
        row["synthetic_id"]: np.array(row["vectors"], np.float16).reshape(1, R, D)
        for batch in store.scan("synthetic_regions", encoder_id=ENCODER_ID)
        for row in batch.to_pylist()
    }
    whole = {row["synthetic_id"]: np.array([row["vector"]], np.float16) for row in stored}
    with_regions = 0
    for batch in split.batches():
        with_regions += len(batch.image_ids) if batch.with_regions else 0
        for place, one in enumerate(batch.image_ids):
            key = one.decode()
            step: Step = "adapter" if key in regions else "adapter_global"
            scores = ladder.scores(whole[key], regions.get(key), steps=[step])[step]
            np.testing.assert_allclose(batch.scores["adapter"][place], scores[0], atol=1e-5)
    assert with_regions == 25
    found = evaluate(store, split.run.run_id, synthetic=True)
    assert (found.images, found.images_with_regions) == (80, 25)
    assert any("generate-images --regions 7' again" in line for line in found.warnings)


def test_regions_of_another_picture_are_left_out(store: Store) -> None:
    add_regions(store, rows(store)[:10], content=["another"] * 10)
    assert not opened(store).regions
    add_regions(store, rows(store)[:3])
    found = evaluate(store, store.runs()[-1].run_id, synthetic=True)
    assert (found.images, found.images_with_regions) == (80, 3)


def test_what_is_made_meanwhile_is_not_among_them(store: Store) -> None:
    split = opened(store)
    first = [batch.image_ids.tolist() for batch in split.batches()]
    add_synthetic(store, texts=40, number=2)
    add_regions(store, rows(store))
    assert [batch.image_ids.tolist() for batch in split.batches()] == first
    assert evaluate(store, split.run.run_id, synthetic=True).images == 120


def test_cells_that_do_not_fit_are_counted_to_the_same_figures(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = store.runs()[-1].run_id
    held = evaluate(store, run_id, synthetic=True, bootstrap=100).to_json()
    monkeypatch.setattr(label_columns, "CELL_BYTES", 2000)
    assert evaluate(store, run_id, synthetic=True, bootstrap=100).to_json() == held


def test_photos_are_measured_as_without_them(store: Store, tmp_path: Path) -> None:
    run_id = store.runs()[-1].run_id
    found = evaluate(store, run_id)
    assert (found.images, found.synthetic) == (30, False)
    evaluate(store, run_id, synthetic=True)
    metrics = store.run(run_id).metrics
    assert list(metrics["evaluation"]) == ["test"]
    assert evaluate(store, run_id).to_json() == found.to_json()
    assert store.run(run_id).metrics["synthetic_evaluation"] == metrics["synthetic_evaluation"]
    assert dataclasses.replace(found, split=None).found_in(metrics)["images"] == 80  # type: ignore[index]
