"""Distances between the centroids of synthetic images, photos and texts, line by line.

D dimension, I images, M texts or synthetic images, N labels.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from taistore.errors import SyntheticError
from taistore.synthetic.centroid_gaps import synthetic_survey
from tests.adapter.stores import ENCODER_ID, add_images, add_synthetic, text_store
from tests.geometry.stores import add_images as add_photos
from tests.geometry.stores import text_vectors

N, D = 6, 16


def _of(side: tuple[NDArray[Any], NDArray[Any]], n: int) -> NDArray[np.float64]:
    """Of vectors [M, D] and labels [M, N], the vectors of those that show label n."""
    vectors_MD, shows_MN = side
    found: NDArray[np.float64] = vectors_MD[shows_MN[:, n] > 0].astype(np.float64)
    return found


@pytest.fixture
def parts(tmp_path: Path) -> Any:
    """A store with 8 synthetic images and 40 photos of split train; vectors and labels of both, and
    of the texts."""
    store = text_store(tmp_path / "s", rows=120)
    ids_M, texts_MD = text_vectors(store)
    index = store.combination_index()
    shows_MN = np.zeros((len(ids_M), N), np.int8)
    for row, combination_id in enumerate(ids_M):
        shows_MN[row, index.positives(np.array([combination_id]))[1]] = 1
    first = 8
    shown_MN = shows_MN[:first]
    drawn_MD = add_synthetic(
        store, texts=first, vectors_MD=2 + np.random.default_rng(1).standard_normal((first, D))
    )
    truth_IN = add_images(store, count=40)
    add_images(store, count=30, split="test", first=40)
    ids = [
        r["image_id"] for b in store.scan("images", where={"split": "train"}) for r in b.to_pylist()
    ]
    photos_ID = store.vectors("image_vectors", ids, encoder_id=ENCODER_ID)
    return store, (drawn_MD, shown_MN), (photos_ID, truth_IN), (texts_MD, shows_MN)


def test_distances_are_those_of_the_means(parts: Any) -> None:
    store, synthetic, photos, texts = parts
    found = synthetic_survey(store, ENCODER_ID)
    assert (found.images, found.photos, found.split) == (8, 40, "train")
    differences: dict[str, list[NDArray[np.float64]]] = {"made": [], "text": [], "apart": []}
    alone = 0
    for n, line in enumerate(found.labels):
        made, real, said = (_of(side, n) for side in (synthetic, photos, texts))
        assert (line.synthetic, line.photos, line.texts) == (len(made), len(real), len(said))
        to_texts = np.linalg.norm(said.mean(axis=0) - real.mean(axis=0))
        assert line.texts_to_photos == pytest.approx(to_texts, rel=1e-3)
        if not len(made):
            assert line.dispersion is line.synthetic_to_photos is line.synthetic_to_texts is None
            continue
        gap_D = made.mean(axis=0) - real.mean(axis=0)
        assert line.synthetic_to_photos == pytest.approx(np.linalg.norm(gap_D), rel=1e-3)
        apart_D = made.mean(axis=0) - said.mean(axis=0)
        assert line.synthetic_to_texts == pytest.approx(np.linalg.norm(apart_D), rel=1e-3)
        spread = ((made - made.mean(axis=0)) ** 2).sum(axis=1).mean()
        assert line.dispersion == pytest.approx(spread, rel=1e-2, abs=1e-6)
        differences["made"].append(gap_D)
        differences["text"].append(said.mean(axis=0) - real.mean(axis=0))
        differences["apart"].append(apart_D)
        if len(made) == 1:
            alone += 1
            assert line.sampling is None
        else:
            errors = [side.var(axis=0, ddof=1).sum() / len(side) for side in (made, real)]
            assert line.sampling == pytest.approx(np.sqrt(sum(errors)), rel=1e-2)
    mean = found.mean
    assert mean is not None
    assert mean.labels == len(differences["made"])
    assert (mean.labels, alone) == (5, 3), "labels without one, and with a single one, are there"
    lengths = {name: np.linalg.norm(rows, axis=1) for name, rows in differences.items()}
    assert mean.synthetic_to_photos == pytest.approx(lengths["made"].mean(), rel=1e-3)
    assert mean.texts_to_photos == pytest.approx(lengths["text"].mean(), rel=1e-3)
    assert mean.synthetic_to_texts == pytest.approx(lengths["apart"].mean(), rel=1e-3)
    common = np.linalg.norm(np.mean(differences["made"], axis=0))
    assert mean.common_synthetic == pytest.approx(common, rel=1e-3)
    assert mean.nearer == pytest.approx((lengths["made"] < lengths["text"]).mean())


def test_two_samples_of_one_place_are_as_far_apart_as_chance_says(tmp_path: Path) -> None:
    store = text_store(tmp_path / "s", rows=300)
    random = np.random.default_rng(4)
    add_synthetic(store, vectors_MD=2 + random.standard_normal((300, D)))
    shown = [[n % N] for n in range(200)]
    add_photos(store, range(200), shown, vectors_ID=2 + random.standard_normal((200, D)))
    mean = synthetic_survey(store, ENCODER_ID).mean
    assert mean is not None
    assert mean.synthetic_to_photos == pytest.approx(mean.sampling, rel=0.2)


@pytest.mark.parametrize(("gap", "nearer", "common"), [(3.0, 1.0, 0.0), (-6.0, 0.0, 9.0)])
def test_it_says_which_of_images_and_texts_are_nearer(
    tmp_path: Path, gap: float, nearer: float, common: float
) -> None:
    store = text_store(tmp_path / "s", rows=300)
    add_synthetic(store, gap=gap)
    add_images(store, count=300)
    mean = synthetic_survey(store, ENCODER_ID).mean
    assert mean is not None
    assert mean.nearer == nearer
    assert mean.common_synthetic == pytest.approx(common, abs=0.8), "one shift for all labels"


def test_without_photos_synthetic_images_are_still_told(tmp_path: Path) -> None:
    store = text_store(tmp_path / "s", rows=60)
    with pytest.raises(SyntheticError, match=r"no synthetic images .*generate-images"):
        synthetic_survey(store, ENCODER_ID)
    add_synthetic(store)
    found = synthetic_survey(store, ENCODER_ID)
    assert (found.images, found.photos, found.mean) == (60, 0, None)
    assert all(line.synthetic_to_photos is None and line.sampling is None for line in found.labels)
    assert all(line.synthetic_to_texts for line in found.labels)
