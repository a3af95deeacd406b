"""Means of many combinations in a file: those in memory, in any order of the texts."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from taistore.errors import StoreError
from taistore.geometry import combination_means
from taistore.geometry.centroids import combination_centroids, label_centroids
from taistore.geometry.combination_means import FiledMeans, HeldMeans, RowFile, open_means
from taistore.geometry.group_sums import NonFiniteRowError
from taistore.geometry.offsets import Shift, TextSide
from taistore.store.partial_labels import PartialLabels
from tests.geometry.stores import ENCODER_ID, add_images, image_store

D = 5


def test_filed_means_are_those_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combination_means, "_ROWS_PER_READ", 16)
    random = np.random.default_rng(0)
    vectors = (3 * random.standard_normal((400, D)) + 1).astype(np.float16)
    groups = random.integers(50, size=400)
    held, filed = HeldMeans(51, D), FiledMeans(51, D)
    for means in (held, filed):
        for low in range(0, 400, 90):
            means.add(vectors[low : low + 90], groups[low : low + 90])
    assert filed.counts_G.tolist() == held.counts_G.tolist()
    wanted, found = held.means(), filed.means()
    np.testing.assert_allclose(found[:], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(filed.mean(), held.mean(), rtol=1e-5)
    asked = random.permutation(51)[:20]
    np.testing.assert_array_equal(found[asked], found[:][asked])
    np.testing.assert_array_equal(found[40:90], found[:][40:])
    assert not found[50:].any(), "a group without rows"


def test_a_row_that_is_not_finite_is_named_and_not_added() -> None:
    vectors = np.ones((4, D), dtype=np.float16)
    vectors[2, 1] = np.inf
    means = FiledMeans(2, D)
    with pytest.raises(NonFiniteRowError) as caught:
        means.add(vectors, np.array([0, 1, 0, 1]))
    assert caught.value.row == 2
    assert not means.counts_G.any()


def test_many_means_lie_in_a_file() -> None:
    rows = combination_means.HELD_BYTES // (4 * D)
    assert isinstance(open_means(rows, D), HeldMeans)
    assert isinstance(open_means(rows + 1, D), FiledMeans)


def test_a_full_disk_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    file = RowFile(3, D)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StoreError, match=r"means of 3 combinations .*No space left.*TMPDIR"):
        file[0:1] = np.ones((1, D), dtype=np.float32)


def test_offsets_by_way_of_a_file_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = image_store(tmp_path / "s", labels=6, texts=200)
    add_images(store, range(40), [[i % 6] for i in range(40)])
    index = store.combination_index()
    images = label_centroids(store, ENCODER_ID, PartialLabels.read(store))
    held = combination_centroids(store, ENCODER_ID, index=index)
    monkeypatch.setattr(combination_means, "HELD_BYTES", 0)
    monkeypatch.setattr("taistore.geometry.offsets._BLOCK_ROWS", 7)
    filed = combination_centroids(store, ENCODER_ID, index=index)
    assert isinstance(filed.means_CD, RowFile)
    sides = [TextSide.build(texts, index, labels=6) for texts in (held, filed)]
    np.testing.assert_allclose(sides[1].means_ND, sides[0].means_ND, rtol=1e-5, atol=1e-5)
    assert sides[1].counts_N.tolist() == sides[0].counts_N.tolist()
    one, other = (Shift.build(images, t, index, pseudo_counts=3) for t in (held, filed))
    ids = held.combination_ids
    np.testing.assert_allclose(other.offsets(ids), one.offsets(ids), rtol=1e-5, atol=1e-5)
    assert other.report() == pytest.approx(one.report(), rel=1e-5)
