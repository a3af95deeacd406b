"""Learning from synthetic images: steps, loss, shift, resume, and that they are no real photos.

D dimension, I images, M texts or synthetic images, N labels.
"""

import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.adapter.data import UNLABELLED_FROM, Preparation, settle
from taistore.adapter.inputs.image_sides import SYNTHETIC_PSEUDO_COUNTS
from taistore.adapter.known_labels import KNOWN
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.run_lifecycle import RunResult
from taistore.adapter.train import resume, train
from taistore.errors import StoreError, TrainingError
from taistore.evaluation.metrics import average_precision, mean_average_precision
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, add_images, add_synthetic, prompt_vectors, text_store
from tests.adapter.test_loss import paper_loss
from tests.adapter.watching import Bar, InterruptedTrainingError, showing, weights
from tests.geometry.stores import add_vectors, text_vectors

N, D = 6, 16
BOTH = TrainConfig(learn_from="texts+synthetic", shift="none", epochs=3, batch=16, image_batch=8)
ALONE = dataclasses.replace(BOTH, learn_from="synthetic")
SHIFT = TrainConfig(shift="synthetic", epochs=3, batch=16)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = text_store(tmp_path / "s", rows=100)
    add_synthetic(store, texts=60)
    return store


def run(store: Store, config: TrainConfig, **options: Any) -> RunResult[TrainConfig]:
    return train(store, ENCODER_ID, config, prompts_ND=prompt_vectors(N), **options)


def holds(store: Store, combination_ids: Any) -> NDArray[np.int8]:
    """Labels [M, N] of combinations."""
    found = np.zeros((len(combination_ids), N), np.int8)
    index = store.combination_index()
    for row, combination_id in enumerate(combination_ids):
        found[row, index.positives(np.array([combination_id]))[1]] = 1
    return found


def synthetic(store: Store) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Vectors [M, D] and labels [M, N] of all synthetic images."""
    rows = [
        r for b in store.scan("synthetic_vectors", encoder_id=ENCODER_ID) for r in b.to_pylist()
    ]
    vectors = np.array([row["vector"] for row in rows], dtype=np.float32)
    return vectors, holds(store, [row["combination_id"] for row in rows])


@pytest.mark.parametrize(
    "config",
    [BOTH, ALONE, SHIFT, dataclasses.replace(BOTH, shift="synthetic")],
    ids=["both", "alone", "shift", "all"],
)
def test_a_stopped_run_resumes_to_the_same_weights(store: Store, config: TrainConfig) -> None:
    undisturbed = run(store, config)
    with pytest.raises(InterruptedTrainingError):
        run(store, config, progress=showing(Bar(20 - 20 % 7)), checkpoint_seconds=0)
    stopped = store.runs()[-1].run_id
    # Images that are made afterwards must not reach a run that has begun.
    add_synthetic(store, number=1)
    assert weights(resume(store, stopped)) == weights(undisturbed)
    assert weights(run(store, config)) != weights(undisturbed)


def test_a_step_holds_texts_and_synthetic_images(store: Store) -> None:
    vectors_MD, truth_MN = synthetic(store)
    config = dataclasses.replace(BOTH, image_where="interior")
    data = Preparation.fresh(store, ENCODER_ID, config)
    texts, images = data.texts(), data.images()
    source = data.source(texts, images, None, radius=1.0, image_radius=0.5)
    steps = list(source.batches(epoch=0, start=0))
    assert len(steps) == source.batches_per_epoch == 7
    assert [len(text.vectors) for text, _ in steps] == [16] * 6 + [4]
    assert {(text.radius, text.where) for text, _ in steps} == {(1.0, "surface")}
    assert {(image.radius, image.where) for _, image in steps} == {(0.5, "interior")}
    for _, image in steps:
        assert len(image.vectors) == 8
        assert image.negatives is None, "everything is known of them"
        found_BN = torch.zeros(8, N).view(-1)
        found_BN[image.positives] = 1
        for vector_D, shown_N in zip(image.vectors.numpy(), found_BN.view(8, N), strict=True):
            (row,) = np.flatnonzero((vectors_MD == vector_D).all(axis=1))
            assert shown_N.tolist() == truth_MN[row].tolist()
    # The same images whatever the step the epoch is entered at.
    again = list(source.batches(epoch=0, start=3))
    for (_, one), (_, other) in zip(steps[3:], again, strict=True):
        assert torch.equal(one.vectors, other.vectors)
    data.config = dataclasses.replace(ALONE)
    alone = list(
        data.source(texts, images, None, radius=1.0, image_radius=0.5).batches(epoch=0, start=0)
    )
    assert [len(step) for step in alone] == [1] * 7, "the texts set the length of an epoch"
    assert torch.equal(alone[0][0].vectors, steps[0][1].vectors)


@pytest.mark.parametrize("config", [BOTH, ALONE])
def test_the_loss_of_a_step_is_eq_3_of_both(store: Store, config: TrainConfig) -> None:
    # One step over all rows without noise, which leaves the weights where they start.
    changes: dict[str, Any] = {"epochs": 1, "batch": 100, "image_batch": 60, "lr": 1e-12}
    result = run(store, dataclasses.replace(config, radius=0, image_radius=0, **changes))
    assert result.metrics["steps"] == 1
    adapter = load_adapter(result.checkpoint)

    def eq_3(vectors_MD: NDArray[np.float32], truth_MN: NDArray[np.int8]) -> float:
        logits_MN = adapter.logits(torch.from_numpy(vectors_MD)).double().numpy()
        return paper_loss(logits_MN, truth_MN.astype(np.float64))

    ids_M, texts_MD = text_vectors(store)
    expected = eq_3(*synthetic(store))
    if config is BOTH:
        expected += eq_3(texts_MD.astype(np.float32), holds(store, ids_M))
    assert result.metrics["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("k", [0.0, SYNTHETIC_PSEUDO_COUNTS])
def test_texts_are_moved_to_where_their_synthetic_images_lie(
    tmp_path: Path, k: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eq. 7-10 of arXiv:2312.04160 line by line; with ``k`` shrunk towards the common gap."""
    monkeypatch.setattr("taistore.adapter.inputs.image_sides.SYNTHETIC_PSEUDO_COUNTS", k)
    store = text_store(tmp_path / "s", rows=200)
    ids_M, texts_MD = text_vectors(store)
    holds_MN = holds(store, ids_M)
    first = 40
    drawn_ID = 5 + np.random.default_rng(1).standard_normal((first, D))
    images_ID = add_synthetic(store, texts=first, vectors_MD=drawn_ID).astype(np.float64)
    shows_IN = holds_MN[:first]
    text_ND = np.stack([texts_MD[holds_MN[:, n] > 0].astype(float).mean(axis=0) for n in range(N)])
    counts_N = shows_IN.sum(axis=0)
    image_ND = np.stack([images_ID[shows_IN[:, n] > 0].mean(axis=0) for n in range(N)])
    gap_D = (counts_N[:, None] * (image_ND - text_ND)).sum(axis=0) / counts_N.sum()
    place_ND = (counts_N[:, None] * image_ND + k * (text_ND + gap_D)) / (counts_N + k)[:, None]

    data = Preparation.fresh(store, ENCODER_ID, SHIFT)
    shift = data.shift()
    assert shift is not None
    for combination_id in np.unique(ids_M):
        own_M = ids_M == combination_id
        mean_D = texts_MD[own_M].astype(float).mean(axis=0)
        labels = np.flatnonzero(holds_MN[own_M][0])
        offset_D = np.mean([place_ND[n] - mean_D for n in labels], axis=0)
        found_D = shift.offsets(np.array([combination_id]))[0]
        np.testing.assert_allclose(found_D, offset_D, rtol=1e-3, atol=1e-3)
    assert data.report(shift)["pseudo_counts"] == k


def test_synthetic_images_help_where_the_modalities_differ(tmp_path: Path) -> None:
    """An image of a label also looks like the next one, which no text tells."""
    store = text_store(tmp_path / "s", rows=200)
    prompts_ND = prompt_vectors(N)
    seen_ND = prompts_ND + 1.2 * np.roll(prompts_ND, -1, axis=0)
    random = np.random.default_rng(5)

    def photos(truth_IN: NDArray[np.int8]) -> NDArray[np.float32]:
        clean_ID = truth_IN @ seen_ND + 0.2 * random.standard_normal((len(truth_IN), D))
        unit_ID = clean_ID / np.linalg.norm(clean_ID, axis=1, keepdims=True)
        found_ID: NDArray[np.float32] = (10 * unit_ID + 1).astype(np.float32)
        return found_ID

    add_synthetic(store, vectors_MD=photos(holds(store, text_vectors(store)[0])))
    truth_IN = add_images(store, count=200, split="test")
    tested_ID = torch.from_numpy(photos(truth_IN))

    def mean_ap(**settings: Any) -> float:
        config = TrainConfig(epochs=10, batch=16, lr=1e-2, **settings)
        logits_IN = load_adapter(run(store, config).checkpoint).logits(tested_ID)
        return mean_average_precision(average_precision(logits_IN.numpy(), truth_IN))

    texts = mean_ap(shift="none")
    in_loss: dict[str, Any] = {"shift": "none", "image_radius": "0.5x"}
    assert mean_ap(learn_from="texts+synthetic", **in_loss) > texts + 0.05
    assert mean_ap(learn_from="synthetic", **in_loss) > texts + 0.05
    assert mean_ap(shift="synthetic") > texts + 0.05


def test_the_run_says_what_it_learnt_from(store: Store) -> None:
    result = run(store, BOTH)
    assert result.known == {"synthetic_images": 60, "labels_without_synthetic_image": 0}
    card = load_adapter(result.checkpoint).card
    assert card.config.learn_from == "texts+synthetic"
    assert (card.config.image_radius, card.config.image_where) == ("2.5x", "surface")
    vectors_MD, _ = synthetic(store)
    norm = float(np.linalg.norm(vectors_MD, axis=1).mean())
    assert card.image_radius == pytest.approx(2.5 * norm, rel=1e-3)
    name = store.table_name("synthetic_vectors", ENCODER_ID)
    assert card.table_versions[name] == store.versions([("synthetic_vectors", ENCODER_ID)])[name]
    assert store.run(result.run_id).config == card.config.to_json()
    assert not (result.checkpoint / KNOWN).exists(), "no image of the store was looked at"
    shifted = run(store, SHIFT)
    assert shifted.known["synthetic_images"] == 60
    assert shifted.shift["labels_with_images"] == N
    assert load_adapter(shifted.checkpoint).card.image_radius is None
    assert (
        name not in load_adapter(run(store, TrainConfig(epochs=1)).checkpoint).card.table_versions
    )


def test_a_label_without_synthetic_images_is_counted_and_trained(tmp_path: Path) -> None:
    store = text_store(tmp_path / "s", rows=100)
    shown = holds(store, text_vectors(store)[0][:1])
    add_synthetic(store, texts=1)
    result = run(store, dataclasses.replace(BOTH, shift="synthetic"))
    assert result.known["labels_without_synthetic_image"] == N - shown.sum()
    assert result.shift["labels_from_targets_alone"] == N - shown.sum()


def test_they_are_no_photos_of_the_store(store: Store) -> None:
    add_synthetic(store, number=1)
    add_synthetic(store, number=2)
    assert store.count("synthetic_vectors", ENCODER_ID) >= UNLABELLED_FROM
    assert settle(store, ENCODER_ID, TrainConfig()).shift == "none"
    add_images(store, count=UNLABELLED_FROM)
    both = dataclasses.replace(BOTH, shift="neighbours")
    result = run(store, both)
    assert result.known["images"] == UNLABELLED_FROM
    assert result.known["synthetic_images"] == store.count("synthetic_vectors", ENCODER_ID)
    assert result.known["known_cells"] == 0
    alone = run(store, TrainConfig(shift="neighbours", epochs=3, batch=16))
    assert result.shift == alone.shift, "photos alone say where these texts are moved"


@pytest.mark.parametrize("config", [BOTH, ALONE, SHIFT])
def test_without_synthetic_images_the_command_is_named(tmp_path: Path, config: TrainConfig) -> None:
    store = text_store(tmp_path / "s", rows=20)
    with pytest.raises(TrainingError, match=r"no synthetic images .*generate-images") as caught:
        run(store, config)
    assert "\n" not in str(caught.value)
    assert not store.runs()


@pytest.mark.parametrize("config", [BOTH, SHIFT])
def test_a_vector_that_is_no_number_is_named(store: Store, config: TrainConfig) -> None:
    one = next(store.scan("synthetic_vectors", encoder_id=ENCODER_ID)).to_pylist()[0]
    keys = {name: [value] for name, value in one.items() if name != "vector"}
    bad = np.full((1, D), np.nan, dtype=np.float16)
    add_vectors(store, "synthetic_vectors", {**keys, "synthetic_id": ["bad-0"]}, bad)
    with pytest.raises(StoreError, match=r"synthetic_vectors__random_16.* not finite"):
        run(store, config)


def test_a_version_that_is_gone_asks_for_a_new_run(store: Store) -> None:
    with pytest.raises(InterruptedTrainingError):
        run(store, BOTH, progress=showing(Bar(20)), checkpoint_seconds=0)
    add_synthetic(store, number=1)
    dataset = store.dataset("synthetic_vectors", ENCODER_ID)
    dataset.optimize.compact_files()
    dataset.cleanup_old_versions(older_than=timedelta(0))
    with pytest.raises(TrainingError, match=r"synthetic_vectors.*is gone: train a new run"):
        resume(store, "latest")
