"""Which labels go together, and the combinations that are drawn by it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.store.partial_labels import PartialLabels
from taistore.store.store import Store
from taistore.store.tables.label_lists import Ragged
from taistore.texts.combinations.affinity import Affinity, store_affinity
from taistore.texts.combinations.dealing import COMBINATIONS, Combinations
from taistore.texts.combinations.sampling import CombinationSample, sample_combinations
from tests.fakes import ColourEncoder


def _labels(n: int) -> LabelSet:
    return LabelSet(Label(f"k{i}", f"name {i}") for i in range(n))


def _known(labels: int, *positives: list[int]) -> PartialLabels:
    counts = np.array([len(row) for row in positives])
    flat = np.array([i for row in positives for i in row], dtype=np.int32)
    nothing = Ragged.build(np.zeros(len(positives), np.int64), np.empty(0, np.int32))
    ids = [f"{i:032x}" for i in range(len(positives))]
    covered = np.full(len(positives), labels, np.int32)
    return PartialLabels.build(labels, ids, Ragged.build(counts, flat), nothing, covered)


def _pairs(sample: CombinationSample) -> set[tuple[int, ...]]:
    return {labels for labels in sample.combinations() if len(labels) == 2}


def test_pairs_seen_together_are_drawn_together() -> None:
    affinity = Affinity.from_images(_known(6, *[[0, 1], [2, 3], [4, 5]] * 50), pseudo_counts=0)
    sample = sample_combinations(
        _labels(6), count=600, sizes={2: 1}, combinations="plausible", affinity=affinity
    )
    assert _pairs(sample) == {(0, 1), (2, 3), (4, 5)}


def test_weights_are_counts_over_the_root_of_the_partners() -> None:
    known = _known(4, *[[0, 1]] * 9, *[[0, 2]] * 4, *[[1]] * 7, [3])
    affinity = Affinity.from_images(known, pseudo_counts=2)
    row = slice(affinity.offsets[0], affinity.offsets[1])
    weights = dict(
        zip(affinity.label_ids[row].tolist(), affinity.weights[row].tolist(), strict=True)
    )
    assert weights == pytest.approx({1: 9 / 4, 2: 4 / 2})
    assert affinity.chance.tolist() == pytest.approx([2 / 15, 2 / 11, 2 / 6, 1])
    drawn = affinity.draw(np.zeros(20_000, np.int32), np.random.default_rng(0))
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    by_chance = 2 / 15 / 4
    expected = [by_chance, 13 / 15 * 9 / 17 + by_chance, 13 / 15 * 8 / 17 + by_chance, by_chance]
    assert shares == pytest.approx(expected, abs=0.015)


def test_without_images_near_prompts_go_together() -> None:
    angles = np.array([0.0, 0.1, 1.5, 1.6])
    prompts = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    affinity = Affinity.from_prompts(prompts, neighbours=1, chance=0)
    sample = sample_combinations(
        _labels(4), count=100, sizes={2: 1}, combinations="plausible", affinity=affinity
    )
    assert _pairs(sample) == {(0, 1), (2, 3)}


def test_the_store_decides_which(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store", _labels(3), default_encoder="colours")
    encoder = ColourEncoder()
    by_prompts = store_affinity(store, encoder)
    assert by_prompts.chance.tolist() == [0.25] * 3
    rows = [
        {"image_id": f"{i:032x}", "uri": "", "width": 1, "height": 1, "positives": [i, 2],
         "negatives": [], "complete": True, "combination_id": None, "split": split}
        for i, split in enumerate(("train", "test"))
    ]  # fmt: skip
    store.append("images", rows)
    seen = store_affinity(store, encoder)
    assert seen.label_ids.tolist() == [2, 0]
    assert seen.chance[1] == 1


@given(
    n=st.integers(1, 30),
    seed=st.integers(0, 1000),
    count=st.integers(1, 300),
    more=st.integers(1, 300),
    combinations=st.sampled_from(COMBINATIONS),
)
def test_every_way_gives_sets_and_prefixes(
    n: int, seed: int, count: int, more: int, combinations: Combinations
) -> None:
    affinity = Affinity.from_images(_known(n, list(range(min(n, 4)))))
    few, many = (
        sample_combinations(
            _labels(n),
            count=number,
            min_per_label=0,
            seed=seed,
            combinations=combinations,
            affinity=affinity,
        )
        for number in (count, count + more)
    )
    said = [many.labels_of(c) for c in many.combination]
    assert [few.labels_of(c) for c in few.combination] == said[:count]
    for labels in many.combinations():
        assert list(labels) == sorted(set(labels))
        assert 0 <= labels[0] <= labels[-1] < n


@pytest.mark.parametrize("combinations", COMBINATIONS)
def test_the_count_that_the_message_names_covers_every_label(combinations: Combinations) -> None:
    affinity = Affinity.from_images(_known(50, [0, 1]))

    def sample(count: int) -> CombinationSample:
        return sample_combinations(
            _labels(50), count=count, min_per_label=7, combinations=combinations, affinity=affinity
        )

    with pytest.raises(TextError, match="texts leave") as error:
        sample(60)
    enough = int(str(error.value).split("ask for ")[1].split(" ")[0].replace(",", ""))
    assert sample(enough).texts_per_label().min() >= 7
    with pytest.raises(TextError):
        sample(enough - 5)


def test_uniform_is_uniform_over_combinations() -> None:
    sample = sample_combinations(
        _labels(5), count=30_000, texts_per_combination=1, combinations="uniform"
    )
    counts = np.bincount(sample.combination)
    sizes = (sample.label_ids >= 0).sum(axis=1)
    for size, combinations in ((1, 5), (2, 10), (3, 10)):
        of_size = counts[sizes == size]
        assert len(of_size) == combinations
        assert of_size == pytest.approx(10_000 / combinations, rel=0.12)


def test_plausible_at_full_size_is_quick_and_balanced() -> None:
    known = _known(7186, *[[i, (i + 1) % 7186, (i * 7) % 7186 or 1] for i in range(2, 7000, 2)])
    sample = sample_combinations(
        _labels(7186),
        count=200_000,
        combinations="plausible",
        affinity=Affinity.from_images(known),
    )
    assert sample.texts_per_label().min() >= 5


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(TextError, match="combinations is 'odd': it must be one of uniform"):
        sample_combinations(_labels(3), count=9, combinations="odd")  # type: ignore[arg-type]
    with pytest.raises(TextError, match="need the labels' affinity"):
        sample_combinations(_labels(3), count=9, combinations="plausible")
