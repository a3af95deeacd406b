"""The Gaussian discriminant against a plain transcription. S images, N labels, D dimension."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from taistore.geometry.unlabelled import image_sample
from taistore.geometry.unlabelled.discriminant import gaussian_discriminant
from taistore.geometry.unlabelled.image_sample import ImageSample
from taistore.store.arrow import vector_array
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from tests.adapter.stores import ENCODER_ID, add_images, prompt_vectors, text_store

N, D, IMAGES = 6, 16, 150
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = text_store(tmp_path_factory.mktemp("discriminant") / "store", rows=20)
    add_images(made, count=IMAGES)
    add_images(made, count=30, split="test", first=1000)
    return made


def sample(store: Store, most: int = 10_000) -> ImageSample:
    return ImageSample.draw(store, ENCODER_ID, PartialLabels.read(store, split="train"), most=most)


def unit(values: Any) -> Array:
    found = np.asarray(values, dtype=np.float64)
    units: Array = found / np.linalg.norm(found, axis=-1, keepdims=True)
    return units


def images_of(store: Store) -> Array:
    """The unit vectors of the split's images, in the order of the table."""
    chosen = store.scan("images", columns=["image_id"], where={"split": "train"})
    train = {image_id for batch in chosen for image_id in batch.column(0).to_pylist()}
    rows = []
    for batch in store.scan("image_vectors", encoder_id=ENCODER_ID):
        ids = batch.column("image_id").to_pylist()
        vectors = vector_array(batch.column("vector"))
        rows += [v for i, v in zip(ids, vectors, strict=True) if i in train]
    return unit(np.array(rows))


def transcribed(x_SD: Array, prompts_ND: Array, nearest: int) -> tuple[Array, Array]:
    """PIAA: inverse D pinv((S - 1) cov + tr(cov) I), weights inverse mu, bias - mu weights / 2."""
    cosines = x_SD @ prompts_ND.T
    scores = (cosines - cosines.mean(1, keepdims=True)) / cosines.std(1, keepdims=True)
    means = np.array([x_SD[np.argsort(-scores[:, n])[:nearest]].mean(0) for n in range(N)])
    covariance = np.cov(x_SD.T)
    inverse = D * np.linalg.pinv((len(x_SD) - 1) * covariance + np.trace(covariance) * np.eye(D))
    weights = means @ inverse
    return weights, -0.5 * (weights * means).sum(axis=1)


@pytest.mark.parametrize("block", [1024, 7])
@pytest.mark.parametrize("nearest", [20, 3, 1000])
def test_it_is_the_closed_form(
    store: Store, nearest: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_sample, "BLOCK_ROWS", block)
    prompts_ND = prompt_vectors(N)
    found = gaussian_discriminant(sample(store), torch.from_numpy(prompts_ND), nearest=nearest)
    x_SD = images_of(store)
    weights, bias = transcribed(x_SD, prompts_ND.astype(np.float64), nearest)
    assert np.allclose(found.weights_ND.numpy(), weights, rtol=1e-4, atol=1e-5)
    assert np.allclose(found.bias_N.numpy(), bias, rtol=1e-4, atol=1e-5)
    nearest_S = (x_SD @ prompts_ND.T).argmax(axis=1)
    gap = np.linalg.norm(x_SD.mean(0) - prompts_ND[nearest_S].mean(0))
    assert found.gap == pytest.approx(float(gap), rel=1e-4)
    scores = found.scores(torch.from_numpy(5 * x_SD).float()).numpy()
    assert np.allclose(scores, x_SD @ weights.T + bias, atol=1e-4)


def test_images_of_the_split_alone_are_drawn(store: Store) -> None:
    assert len(sample(store)) == IMAGES
    some = sample(store, most=40)
    assert len(some) == 40
    assert np.array_equal(some.positions_S, sample(store, most=40).positions_S)
    assert (np.diff(some.positions_S) > 0).all()
    assert set(some.positions_S) < set(sample(store).positions_S)
    whole = torch.cat(list(sample(store).blocks()))
    assert torch.equal(torch.cat(list(sample(store).blocks(np.array([3, 9])))), whole[[3, 9]])


def test_an_image_without_spread_is_no_number_divided_by_zero(tmp_path: Path) -> None:
    store = text_store(tmp_path / "store", rows=4)
    add_images(store, count=1)
    found = gaussian_discriminant(sample(store), torch.from_numpy(prompt_vectors(N)))
    assert found.weights_ND.isfinite().all()
    assert found.bias_N.isfinite().all()
