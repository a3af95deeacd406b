"""The label combinations of Fig. 7 and 10: which are drawn, and where their centroids lie."""

from pathlib import Path

import numpy as np
import pytest

from taistore.errors import StoreError
from taistore.geometry.combination_clusters import IMAGES_DRAWN, combination_clusters
from taistore.store.partial_labels import PartialLabels
from tests.geometry.stores import ENCODER_ID, add_images, image_store

N = 6


def test_combinations_with_most_images_come_first_with_their_own_means(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    shown = [[0, 1]] * 5 + [[1]] * 4 + [[1, 0, 2]] * 3 + [[3]] * 2 + [[]] * 9
    vectors_ID = add_images(store, range(len(shown)), shown).astype(np.float32)
    estimates_ND = np.random.default_rng(0).standard_normal((N, 16)).astype(np.float32)
    estimates_ND[2] = np.nan
    known = PartialLabels.read(store)
    found = combination_clusters(store, ENCODER_ID, known, estimates_ND, clusters=3)
    assert found.label_ids == ((0, 1), (1,), (0, 1, 2))
    assert np.bincount(found.clusters_P).tolist() == [5, 4, 3]
    for k, rows in enumerate((range(5), range(5, 9), range(9, 12))):
        own = vectors_ID[list(rows)]
        np.testing.assert_allclose(found.true_KD[k], own.mean(axis=0), rtol=1e-5, atol=1e-5)
        drawn = found.vectors_PD[found.clusters_P == k]
        assert {row.tobytes() for row in drawn} == {row.tobytes() for row in own}
    # Eq. 9: the mean of the labels' centroids; one of them has none.
    np.testing.assert_allclose(found.estimates_KD[0], (estimates_ND[0] + estimates_ND[1]) / 2)
    np.testing.assert_allclose(found.estimates_KD[1], estimates_ND[1])
    assert np.isnan(found.estimates_KD[2]).all()


def test_images_without_vectors_are_left_out_and_the_next_combination_takes_their_place(
    tmp_path: Path,
) -> None:
    store = image_store(tmp_path / "s", labels=N)
    add_images(store, range(50, 58), [[4]] * 8, with_vectors=False)
    add_images(store, range(3), [[5]] * 3)
    known = PartialLabels.read(store)
    found = combination_clusters(store, ENCODER_ID, known, np.zeros((N, 16), "f4"), clusters=1)
    assert found.label_ids == ((5,),)
    store = image_store(tmp_path / "none", labels=N)
    add_images(store, range(3), [[]] * 3, negatives=[[1]] * 3)
    with pytest.raises(StoreError, match="known to show a label: there is nothing to draw"):
        combination_clusters(
            store, ENCODER_ID, PartialLabels.read(store), np.zeros((N, 16), "f4"), clusters=1
        )


def test_of_many_images_some_are_drawn_and_all_are_averaged(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N)
    vectors_ID = add_images(store, range(200), [[1, 2]] * 200).astype(np.float32)
    found = combination_clusters(
        store, ENCODER_ID, PartialLabels.read(store), np.zeros((N, 16), "f4"), clusters=8
    )
    assert len(found.vectors_PD) == IMAGES_DRAWN
    np.testing.assert_allclose(found.true_KD[0], vectors_ID.mean(axis=0), rtol=1e-4, atol=1e-4)
