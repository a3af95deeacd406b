"""Sums on a device agree with those of the CPU's own way."""

from pathlib import Path

import numpy as np
import pytest
import torch

from taistore.geometry import device_sums
from taistore.geometry.centroids import label_centroids
from taistore.geometry.device_sums import DeviceSums
from taistore.geometry.group_sums import GroupSums, NonFiniteRowError
from taistore.store.partial_labels import PartialLabels
from tests.geometry.stores import ENCODER_ID, add_images, image_store

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=NEEDS_GPU)]


@pytest.mark.parametrize("device", DEVICES)
def test_sums_are_those_of_the_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_sums, "BLOCK_ROWS", 16)
    random = np.random.default_rng(0)
    vectors = (5 * random.standard_normal((100, 7)) + 3).astype(np.float16)
    member = random.random((100, 9)) < 0.2
    one, other = GroupSums(9, 7, squares=True), DeviceSums(9, 7, device=device)
    for sums in (one, other):
        for low in range(0, 100, 45):
            part = member[low : low + 45]
            sums.add(vectors[low : low + 45], part.sum(axis=1), np.nonzero(part)[1])
    np.testing.assert_allclose(other.sums(), one.sums(), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(other.total(), one.total(), rtol=1e-5)
    np.testing.assert_allclose(other.squares_G, one.squares_G, rtol=1e-5)
    assert other.counts_G.tolist() == one.counts_G.tolist()
    assert other.rows == one.rows == 100


@pytest.mark.parametrize("device", DEVICES)
def test_a_row_that_is_not_finite_is_named(device: str) -> None:
    vectors = np.ones((4, 3), dtype=np.float16)
    vectors[2, 1] = np.nan
    sums = DeviceSums(1, 3, device=device)
    with pytest.raises(NonFiniteRowError) as caught:
        sums.add(vectors, np.ones(4, np.int64), np.zeros(4, np.int64))
    assert caught.value.row == 2
    assert sums.rows == 0


@NEEDS_GPU
def test_label_centroids_on_the_gpu(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=6)
    add_images(store, range(40), [[i % 6] for i in range(40)])
    known = PartialLabels.read(store)
    cpu, gpu = (
        label_centroids(store, ENCODER_ID, known, dispersions=True, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(gpu.means_ND, cpu.means_ND, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gpu.dispersions_N, cpu.dispersions_N, rtol=1e-3, atol=1e-3)
