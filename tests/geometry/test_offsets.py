"""Eq. 7-10 of arXiv:2312.04160 against a plain transcription, and what shrinking adds to them.

C combinations, D dimension, I images, M texts, N labels.
"""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.geometry.centroids import (
    CombinationCentroids,
    LabelCentroids,
    combination_centroids,
    label_centroids,
)
from taistore.geometry.offsets import Shift, TextSide, modality_gap
from taistore.store.combination_rows import CombinationIndex
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from tests.geometry.stores import ENCODER_ID, add_images, image_store, text_vectors

N, D = 6, 16
Parts = tuple[LabelCentroids, CombinationCentroids, CombinationIndex]


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Store, Parts, NDArray[np.float64], NDArray[np.int8]]:
    store = image_store(tmp_path / "s", labels=N, texts=200)
    truth = np.random.default_rng(0).choice([-1, 0, 1], size=(60, N), p=[0.5, 0.3, 0.2])
    truth[:, 4] = np.minimum(truth[:, 4], 0)
    vectors = add_images(
        store, range(60), [np.flatnonzero(row == 1).tolist() for row in truth]
    ).astype(np.float64)
    known = PartialLabels.read(store)
    found = (
        label_centroids(store, ENCODER_ID, known),
        combination_centroids(store, ENCODER_ID),
        store.combination_index(),
    )
    return store, found, vectors, truth.astype(np.int8)


def _paper(
    store: Store, vectors_ID: NDArray[np.float64], truth_IN: NDArray[np.int8]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Eq. 7-10 line by line: combination ids [M] and shifted texts [M, D].

    Eq. 7 divides by zero for a label without a known image: its term of Eq. 9 is left at zero.
    """
    ids_M, t_MD = text_vectors(store)
    index = store.combination_index()
    texts_MD = t_MD.astype(np.float64)
    shifted_MD = np.empty_like(texts_MD)
    for i in range(len(ids_M)):
        c_T = texts_MD[ids_M == ids_M[i]].mean(axis=0)
        _, own = index.positives(ids_M[i : i + 1])
        o_i = np.zeros(D)
        for j in own:
            shows = truth_IN[:, j] > 0
            if shows.any():
                c_V = vectors_ID[shows].sum(axis=0) / shows.sum()
                o_i += (c_V - c_T) / len(own)
        shifted_MD[i] = texts_MD[i] + o_i
    return ids_M, shifted_MD


def test_the_plain_form_is_eq_7_to_10(
    parts: tuple[Store, Parts, NDArray[np.float64], NDArray[np.int8]],
) -> None:
    store, found, vectors, truth = parts
    shift = Shift.build(*found, pseudo_counts=0)
    ids, expected = _paper(store, vectors, truth)
    texts = text_vectors(store)[1].astype(np.float32)
    np.testing.assert_allclose(texts + shift.offsets(ids), expected, rtol=1e-4, atol=1e-4)
    assert shift.offsets(ids).dtype == np.float32
    assert shift.images.covered_N.tolist() == [True] * 4 + [False, True]


def test_a_label_without_images_moves_nothing_in_the_plain_form(
    parts: tuple[Store, Parts, NDArray[np.float64], NDArray[np.int8]],
) -> None:
    store, found, _, _ = parts
    alone = np.array([store.labels.combination_id([4])])
    assert not Shift.build(*found, pseudo_counts=0).offsets(alone).any()
    shrunk = Shift.build(*found, pseudo_counts=3)
    np.testing.assert_allclose(
        shrunk.offsets(alone)[0],
        shrunk.images.gap_D + TextSide.build(found[1], found[2], labels=N).means_ND[4]
        - found[1].means_CD[found[1].rows(alone)[0]],
        rtol=1e-4,
        atol=1e-4,
    )  # fmt: skip
    report = shrunk.report()
    assert report["labels_with_images"] == N - 1
    assert report["labels_from_targets_alone"] == 1
    assert report["labels_without_shift"] == 0
    assert Shift.build(*found, pseudo_counts=0).report()["labels_without_shift"] == 1


@pytest.mark.parametrize("k", [0.5, 2.0, 10.0])
def test_shrinking_weighs_images_against_the_common_gap(
    parts: tuple[Store, Parts, NDArray[np.float64], NDArray[np.int8]], k: float
) -> None:
    store, (images, texts, index), _, _ = parts
    ids, vectors = text_vectors(store)
    holds_MN = np.array([np.isin(range(N), index.positives(ids[[m]])[1]) for m in range(len(ids))])
    t_ND = np.stack([vectors[holds_MN[:, n]].astype(float).mean(axis=0) for n in range(N)])
    counts = images.counts_N.astype(float)
    gap_D = sum(counts[n] * (images.means_ND[n] - t_ND[n]) for n in range(N)) / counts.sum()
    expected = (counts[:, None] * images.means_ND + k * (t_ND + gap_D)) / (counts + k)[:, None]
    shift = Shift.build(images, texts, index, pseudo_counts=k)
    np.testing.assert_allclose(shift.images.estimates_ND, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(shift.images.gap_D, gap_D, rtol=1e-4, atol=1e-4)
    pair = store.labels.combination_id([4, 5])
    if pair in ids:
        mean = vectors[ids == pair].astype(float).mean(axis=0)
        np.testing.assert_allclose(
            shift.offsets(np.array([pair]))[0],
            expected[[4, 5]].mean(axis=0) - mean,
            rtol=1e-4,
            atol=1e-4,
        )


def test_without_any_image_nothing_moves(tmp_path: Path) -> None:
    store = image_store(tmp_path / "s", labels=N, texts=40)
    images = label_centroids(store, ENCODER_ID, PartialLabels.read(store))
    texts, index = combination_centroids(store, ENCODER_ID), store.combination_index()
    shift = Shift.build(images, texts, index, pseudo_counts=5)
    assert not shift.offsets(texts.combination_ids).any()
    assert shift.report()["combinations_without_shift"] == len(texts)
    side = TextSide.build(texts, index, labels=N)
    assert not modality_gap(images, side).any()


@pytest.mark.parametrize("k", [-1.0, float("nan"), float("inf")])
def test_odd_pseudo_counts_are_refused(
    parts: tuple[Store, Parts, NDArray[np.float64], NDArray[np.int8]], k: float
) -> None:
    with pytest.raises(ValueError, match="pseudo_counts"):
        Shift.build(*parts[1], pseudo_counts=k)


def test_a_combination_without_texts_is_refused(
    parts: tuple[Store, Parts, NDArray[np.float64], NDArray[np.int8]],
) -> None:
    with pytest.raises(KeyError, match="no text vectors"):
        Shift.build(*parts[1], pseudo_counts=1).offsets(np.array([1, 2]))
