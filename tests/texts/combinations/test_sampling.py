"""Sampling: every label covered, balanced, the same prefix at any count, quick at full size."""

import re
import time
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.texts.combinations.sampling import Balance, CombinationSample, sample_combinations


def _labels(n: int) -> LabelSet:
    return LabelSet(Label(f"k{i}", f"name {i}") for i in range(n))


def _texts(sample: CombinationSample) -> list[tuple[tuple[int, ...], int]]:
    rows = list(sample.combinations())
    return [(rows[c], int(turn)) for c, turn in zip(sample.combination, sample.turn, strict=True)]


class Case(NamedTuple):
    """One way to ask for a sample."""

    n: int
    per: int
    seed: int
    sizes: dict[int, float]

    def sample(self, count: int) -> CombinationSample:
        """``count`` texts, whatever labels they cover."""
        return sample_combinations(
            _labels(self.n),
            count=count,
            sizes=self.sizes,
            texts_per_combination=self.per,
            min_per_label=0,
            seed=self.seed,
        )


CASES = st.builds(
    Case,
    n=st.integers(1, 40),
    per=st.integers(1, 6),
    seed=st.integers(0, 2**32),
    sizes=st.dictionaries(st.integers(1, 5), st.floats(0.1, 5), min_size=1),
).filter(lambda case: min(case.sizes) <= case.n)
COUNTS = st.integers(1, 400)


@settings(deadline=None)
@given(CASES, COUNTS)
def test_combinations_are_sets_of_the_asked_sizes(case: Case, count: int) -> None:
    sample = case.sample(count)
    assert len(sample) == count
    assert len(set(sample.combinations())) == len(sample.label_ids)
    for labels in sample.combinations():
        assert list(labels) == sorted(set(labels))
        assert len(labels) in case.sizes
        assert 0 <= labels[0] <= labels[-1] < case.n


@settings(deadline=None)
@given(CASES, COUNTS, COUNTS)
def test_a_smaller_count_is_a_prefix(case: Case, count: int, more: int) -> None:
    assert _texts(case.sample(count)) == _texts(case.sample(count + more))[:count]


@settings(deadline=None)
@given(CASES, COUNTS)
def test_turns_of_a_combination_run_from_zero(case: Case, count: int) -> None:
    turns: dict[tuple[int, ...], list[int]] = {}
    for labels, turn in _texts(case.sample(count)):
        turns.setdefault(labels, []).append(turn)
    assert all(found == list(range(len(found))) for found in turns.values())


@settings(deadline=None)
@given(n=st.integers(1, 60), minimum=st.integers(1, 12), seed=st.integers(0, 1000))
def test_every_label_is_covered_or_the_error_names_what_is_enough(
    n: int, minimum: int, seed: int
) -> None:
    labels = _labels(n)

    def sample(count: int, *, at_least: int = minimum) -> CombinationSample:
        return sample_combinations(
            labels, count=count, texts_per_combination=3, min_per_label=at_least, seed=seed
        )

    enough = 1
    try:
        sample(1)
    except TextError as refused:
        wanted = re.search(r"ask for ([\d,]+) texts", str(refused))
        assert wanted is not None
        enough = int(wanted[1].replace(",", ""))
    assert sample(enough).texts_per_label().min() >= minimum
    if enough > 3:
        assert sample(enough - 3, at_least=0).texts_per_label().min() < minimum


def test_texts_per_label_counts_texts() -> None:
    sample = sample_combinations(_labels(7), count=333, texts_per_combination=4, seed=3)
    counts = np.zeros(7, dtype=int)
    for labels, _ in _texts(sample):
        counts[list(labels)] += 1
    assert sample.texts_per_label().tolist() == counts.tolist()
    balance = Balance.of(sample.texts_per_label())
    assert (balance.minimum, balance.maximum) == (counts.min(), counts.max())
    differences = np.abs(counts[:, None] - counts[None, :]).sum()
    assert balance.gini == pytest.approx(differences / (2 * 7 * counts.sum()))


def test_sizes_are_as_frequent_as_their_weights() -> None:
    sample = sample_combinations(
        _labels(500), count=20_000, sizes={1: 3.0, 2: 1.0}, texts_per_combination=1, seed=1
    )
    sizes = [len(labels) for labels, _ in _texts(sample)]
    assert sizes.count(1) / len(sizes) == pytest.approx(0.75, abs=0.02)


def test_seeds_differ() -> None:
    a, b = (sample_combinations(_labels(30), count=100, min_per_label=0, seed=s) for s in (1, 2))
    assert _texts(a) != _texts(b)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count is 0: it must be at least 1"),
        ({"count": 10, "texts_per_combination": 0}, "texts_per_combination is 0"),
        ({"count": 10, "min_per_label": -1}, "min_per_label is -1"),
        ({"count": 10, "seed": -1}, "seed is -1"),
        ({"count": 10, "sizes": {0: 1.0}}, "combination size 0"),
        ({"count": 10, "sizes": {1: float("nan")}}, "weight nan"),
        ({"count": 10, "sizes": {4: 1.0}}, "no combination size in {4: 1.0} fits a set of 3"),
        ({"count": 10, "sizes": {}}, "no combination size"),
        ({"count": 4, "min_per_label": 40}, r"leave 3 of 3 labels with fewer than 40"),
    ],
)
def test_bad_settings_name_field_and_remedy(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TextError, match=message):
        sample_combinations(_labels(3), **settings)


def test_a_million_texts_over_openimages_take_seconds() -> None:
    begin = time.process_time()
    sample = sample_combinations(_labels(7186), count=1_000_000)
    assert time.process_time() - begin < 10
    balance = Balance.of(sample.texts_per_label())
    assert balance.gini < 0.01
    assert balance.minimum > 0.95 * balance.mean
