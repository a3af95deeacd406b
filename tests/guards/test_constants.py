"""Constants that a result depends on, each by what it does: a changed one fails here."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from taistore.adapter.config import TrainConfig
from taistore.adapter.data import Preparation, settle
from taistore.errors import ImageError
from taistore.geometry.centroids import combination_centroids, label_centroids
from taistore.geometry.expected_places import (
    neighbour_estimates,
    neighbour_targets,
)
from taistore.geometry.image_neighbours import ImageNeighbours
from taistore.geometry.neighbours import EXACT_ROWS, ivf_lists, sample_rows
from taistore.geometry.offsets import Float32, TextSide, gap_targets
from taistore.images.decoding import read_file
from taistore.labels import Label, LabelSet
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.texts.audit.refusals import loops
from taistore.texts.combinations.affinity import Affinity
from taistore.texts.label_prompts import label_prompts
from taistore.texts.language.grammar import noun
from taistore.texts.templates.template_writer import Fragments, render
from tests.geometry.stores import ENCODER_ID, add_images, image_store
from tests.texts.combinations.test_affinity import _known

N, D = 6, 16


def test_two_texts_in_five_say_where_or_when() -> None:
    fragments = Fragments(any=("{all}{tail}",), alone=(), tails=("at night",))
    texts = [render([noun("dog")], turn=n, seed=1, fragments=fragments) for n in range(4000)]
    share = sum("at night" in text for text in texts) / len(texts)
    assert share == pytest.approx(0.4, abs=0.03)


def test_a_label_a_tenth_nearer_in_cosine_is_named_e_times_as_often() -> None:
    cosines = np.array([1, 0.9, 0.8])
    prompts_ND = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)
    affinity = Affinity.from_prompts(prompts_ND, neighbours=2, chance=0)
    drawn = affinity.draw(np.zeros(40_000, np.int32), np.random.default_rng(0))
    _, near, far = np.bincount(drawn, minlength=3)
    assert near / far == pytest.approx(math.e, rel=0.06)


def test_a_label_seen_beside_others_fifteen_times_meets_chance_in_a_quarter() -> None:
    affinity = Affinity.from_images(_known(40, *[[0, 1]] * 15))
    drawn = affinity.draw(np.zeros(40_000, np.int32), np.random.default_rng(0))
    # By chance it is label 1 as well, one time in forty.
    assert np.mean(drawn != 1) == pytest.approx(0.25 * 39 / 40, abs=0.015)


def test_a_label_has_ten_prompts() -> None:
    prompts = label_prompts(LabelSet([Label("d", "dog")]), 0)
    assert len(set(prompts)) == 10
    assert sum("a dog" in prompt for prompt in prompts) == 9
    assert sum("dogs" in prompt for prompt in prompts) == 1


def test_a_file_above_half_a_gibibyte_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.jpg"
    path.touch()
    os.truncate(path, 512 * 2**20 + 1)  # sparse: it takes no room
    with pytest.raises(ImageError, match="536,870,913 bytes, at most 536,870,912 are") as error:
        read_file(path)
    assert error.value.reason == "too_large"


@pytest.mark.parametrize(("words", "found"), [(7, True), (8, True), (9, False)])
def test_a_phrase_of_up_to_eight_words_said_three_times_is_a_loop(words: int, found: bool) -> None:
    # What goes before keeps the text as a whole from repeating most of itself.
    before = "an old man walks his small dog past seven parked cars near my house"
    phrase = " ".join(["then", "we", "saw", "one", "more", "boat", "on", "its", "way"][:words])
    assert loops(f"{before} {phrase} {phrase} {phrase}") is found


def _store(path: Path, images: int, *, noise: float = 0.5) -> Store:
    """Images near their one label; the last two labels have none that are known."""
    store = image_store(path, labels=N, texts=200)
    places_ND = 10 * np.eye(N, D) + 4 * np.eye(D)[N]
    label_I = np.arange(images) % N
    noise_ID = np.random.default_rng(0).standard_normal((images, D))
    positives = [[int(n)] if n < N - 2 and i < 60 else [] for i, n in enumerate(label_I)]
    add_images(store, range(images), positives, vectors_ID=places_ND[label_I] + noise * noise_ID)
    return store


def test_texts_of_zsl_move_from_two_hundred_images_on(tmp_path: Path) -> None:
    store = _store(tmp_path / "s", 199)
    assert settle(store, ENCODER_ID, TrainConfig()).shift == "none"
    add_images(store, [199], [[]])
    assert settle(store, ENCODER_ID, TrainConfig()).shift == "neighbours"


@pytest.mark.parametrize(("task", "times"), [("zsl", 1.25), ("fsl", 1.0), ("pll", 1.0)])
def test_moved_texts_are_shaken_less(task: str, times: float) -> None:
    # The paper's 25 becomes 10 at a norm of 10; by neighbours alone texts land less exactly.
    config = TrainConfig.of(task=task, **({"shots": 1} if task == "fsl" else {}))
    assert config.settled("neighbours").text_radius(10) == pytest.approx(10 * times)
    assert config.settled("none").text_radius(10) == 25


def _places(store: Store, config: TrainConfig) -> tuple[Preparation, Float32]:
    """A training's data, and where it takes each label's images to be [N, D]."""
    data = Preparation.fresh(store, ENCODER_ID, config.settled("neighbours"))
    assert data.shift() is not None
    assert data.image_side is not None
    return data, data.image_side.estimates_ND


@pytest.mark.parametrize("config", [TrainConfig(task="pll"), TrainConfig(task="fsl", shots=3)])
def test_a_label_is_expected_half_way_and_that_is_worth_four_images(
    tmp_path: Path, config: TrainConfig
) -> None:
    store = _store(tmp_path / "s", 120)
    data, found_ND = _places(store, config)
    assert data.known is not None
    images = label_centroids(store, ENCODER_ID, data.known)
    texts, index = combination_centroids(store, ENCODER_ID), store.combination_index()
    near = ImageNeighbours.build(store, ENCODER_ID, data.known)
    near_ND = neighbour_targets(near, images, texts, index, k=20)
    gap_ND = gap_targets(images, TextSide.build(texts, index, labels=N))
    assert np.linalg.norm(near_ND - gap_ND, axis=1)[-1] > 1
    expected_ND = (gap_ND + near_ND) / 2
    counts_N1 = images.counts_N[:, None]
    assert counts_N1[-1] == 0
    assert counts_N1[0] >= 3
    wanted_ND = (counts_N1 * images.means_ND + 4 * expected_ND) / (counts_N1 + 4)
    np.testing.assert_allclose(found_ND, wanted_ND, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("config", "rounds"),
    [
        (TrainConfig(task="zsl", neighbours=5), 2),
        (TrainConfig(task="fsl", shots=3, neighbours=5), 1),
        (TrainConfig(task="pll", neighbours=5), 1),
    ],
    ids=["zsl", "fsl", "pll"],
)
def test_neighbours_are_looked_up_once_where_labels_are_known_else_twice(
    tmp_path: Path, config: TrainConfig, rounds: int
) -> None:
    # So much noise that others are near where the first ones lead.
    store = _store(tmp_path / "s", 120, noise=6)
    _, usual_ND = _places(store, config)
    _, said_ND = _places(store, replace(config, neighbour_rounds=rounds))
    _, other_ND = _places(store, replace(config, neighbour_rounds=3 - rounds))
    np.testing.assert_array_equal(usual_ND, said_ND)
    assert not np.allclose(usual_ND, other_ND, rtol=1e-2)


@pytest.mark.parametrize(("images", "neighbours"), [(120, 20), (800, 32), (3000, 100)])
def test_one_image_in_25_is_a_neighbour_but_at_least_20_and_at_most_100(
    tmp_path: Path, images: int, neighbours: int
) -> None:
    store = _store(tmp_path / "s", images)
    _, usual_ND = _places(store, TrainConfig(task="zsl"))
    _, said_ND = _places(store, TrainConfig(task="zsl", neighbours=neighbours))
    _, other_ND = _places(store, TrainConfig(task="zsl", neighbours=neighbours + 1))
    np.testing.assert_array_equal(usual_ND, said_ND)
    assert not np.allclose(usual_ND, other_ND, rtol=1e-4)


@pytest.mark.parametrize(("passed_over", "left"), [(15, 5), (16, 4)])
def test_of_twenty_images_looked_up_for_five_fifteen_may_be_passed_over(
    tmp_path: Path, passed_over: int, left: int
) -> None:
    store = image_store(tmp_path / "s", labels=N)
    # The nearer an image to the first axis, the smaller its number.
    angles = np.linspace(0.01, 1.5, 40)
    vectors_ID = np.zeros((40, D))
    vectors_ID[:, 0], vectors_ID[:, 1] = np.cos(angles), np.sin(angles)
    negatives = [[2] if i < passed_over else [] for i in range(40)]
    stored_ID = add_images(
        store, range(40), [[]] * 40, negatives=negatives, vectors_ID=10 * vectors_ID
    )
    near = ImageNeighbours.build(store, ENCODER_ID, PartialLabels.read(store))
    query_QD = np.eye(1, D, dtype=np.float32)
    found_LD, counts_L = neighbour_estimates(near, query_QD, np.array([2]), k=5)
    assert counts_L.tolist() == [left]
    mean_D = stored_ID[passed_over : passed_over + left].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(found_LD[0], mean_D, rtol=1e-3, atol=1e-3)


def test_an_approximate_index_of_a_million_trains_on_131072() -> None:
    rows = sample_rows(10**6)
    assert len(rows) == len(set(rows.tolist())) == 131_072
    assert ivf_lists(10**6) == 2048
    faiss = pytest.importorskip("faiss")
    # FAISS complains below 39 rows a list.
    least = faiss.ClusteringParameters().min_points_per_centroid
    assert len(sample_rows(EXACT_ROWS + 1)) > 1.5 * least * ivf_lists(EXACT_ROWS + 1)
