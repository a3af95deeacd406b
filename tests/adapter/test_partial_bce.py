"""Partial-BCE against a plain transcription, on the batches of a real store.

B batch, N labels.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from taistore.adapter.config import TrainConfig
from taistore.adapter.data import Preparation
from taistore.adapter.loss import bce_value, sparse_bce
from taistore.adapter.run_files.checkpoint import load_adapter
from taistore.adapter.steps import TrainingBatch
from taistore.adapter.train import train
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, add_images, prompt_vectors, text_store
from tests.adapter.watching import weights

N = 6
PLL = TrainConfig(task="pll", epochs=2, batch=16, image_batch=8, loss="partial-bce")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Texts, sixty images of which all is known and, of another split, twenty that know a pair."""
    store = text_store(tmp_path / "s", rows=100)
    add_images(store, count=60)
    add_images(store, count=60, split="mixed", first=300)
    add_images(store, count=20, split="mixed", first=600, complete=False)
    return store


def partial_bce(
    logits_BN: NDArray[np.float64], truth_BN: NDArray[np.int8]
) -> tuple[float, NDArray[np.float64]]:
    """The loss as it is written, image by image, and its gradient [B, N]."""
    images, labels = logits_BN.shape
    gradient_BN = np.zeros_like(logits_BN)
    losses = []
    for b in range(images):
        share = sum(truth_BN[b, n] >= 0 for n in range(labels)) / labels
        weight = (-4.45 * share + 5.45) / labels
        loss = 0.0
        for n in range(labels):
            if truth_BN[b, n] < 0:
                continue
            probability = 1 / (1 + np.exp(-logits_BN[b, n]))
            loss -= np.log(probability if truth_BN[b, n] else 1 - probability)
            gradient_BN[b, n] = weight * (probability - truth_BN[b, n]) / images
        losses.append(weight * loss)
    return float(np.mean(losses)), gradient_BN


def image_batches(
    store: Store, config: TrainConfig
) -> list[tuple[TrainingBatch, NDArray[np.int8]]]:
    """The image batches of an epoch, each with what the run knows of its images [B, N]."""
    data = Preparation.fresh(store, ENCODER_ID, config)
    images, known = data.images(), data.known
    assert images is not None
    assert known is not None
    alone = dataclasses.replace(config, learn_from="images")
    data.config = alone
    source = data.source(data.texts(), images, None, radius=1.0, image_radius=0.0)
    steps = source.batches(epoch=0, start=0)
    found = []
    for batch, (step,) in zip(images.batches(epoch=0), steps, strict=False):
        found.append((step, known.truth(known.find(batch.keys.tolist()))))
    return found


@pytest.mark.parametrize(
    "settings",
    [{"known": 0.1}, {"known": 0.5}, {"known": 1.0}, {"split": "mixed"}],
    ids=["tenth", "half", "all", "mixed"],
)
def test_value_and_gradient_are_those_of_the_formula(
    store: Store, settings: dict[str, Any]
) -> None:
    batches = image_batches(store, dataclasses.replace(PLL, **settings))
    assert len(batches) >= 3
    shares: set[float] = set()
    for batch, truth_BN in batches:
        random = np.random.default_rng(len(shares))
        logits_BN = 3 * random.standard_normal(truth_BN.shape)
        wanted, gradient_BN = partial_bce(logits_BN, truth_BN)
        ours_BN = torch.from_numpy(logits_BN).float().requires_grad_()
        cells = (batch.positives, batch.negatives)
        weights_B = batch.row_weights
        assert weights_B is not None
        torch.autograd.backward(sparse_bce(ours_BN, *cells, row_weights=weights_B))
        assert ours_BN.grad is not None
        np.testing.assert_allclose(ours_BN.grad.numpy(), gradient_BN, atol=1e-7, rtol=1e-4)
        value = bce_value(ours_BN.detach(), *cells, row_weights=weights_B)
        assert value == pytest.approx(wanted, rel=1e-5)
        shares |= set((truth_BN >= 0).mean(axis=1).tolist())
    assert (len(shares) == 1) is (settings.get("known") == 1.0)


def test_where_all_is_known_it_is_the_plain_loss(store: Store) -> None:
    for batch, _ in image_batches(store, PLL):
        assert batch.negatives is None
        assert batch.row_weights is not None
        assert batch.row_weights.tolist() == pytest.approx([1.0] * len(batch.vectors))


def test_texts_count_as_before(store: Store) -> None:
    data = Preparation.fresh(store, ENCODER_ID, dataclasses.replace(PLL, known=0.1))
    images = data.images()
    assert images is not None
    source = data.source(data.texts(), images, None, radius=1.0, image_radius=0.0)
    for texts, batch in source.batches(epoch=0, start=0):
        assert (texts.row_weights, texts.negatives) == (None, None)
        assert batch.row_weights is not None


@pytest.mark.parametrize("learn_from", ["images", "both"])
@pytest.mark.parametrize("network", ["residual", "small"])
def test_it_is_trained_and_stands_on_the_card(store: Store, network: Any, learn_from: Any) -> None:
    settings = {"task": "pll", "network": network, "learn_from": learn_from, "split": "mixed"}
    if network == "small":
        settings["hidden"] = 8
    found = {}
    for loss in ("bce", "partial-bce"):
        config = TrainConfig.of(**settings, epochs=1, batch=16, loss=loss)
        result = train(store, ENCODER_ID, config, prompts_ND=prompt_vectors(N))
        assert load_adapter(result.checkpoint).card.config.loss == loss
        found[loss] = weights(result)
    assert found["bce"] != found["partial-bce"]
