"""Combinations of a label set that grows: what was drawn stays, what is new gets its share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.texts.combinations.growth import Growth
from taistore.texts.combinations.sampling import CombinationSample, sample_combinations


def _labels(count: int) -> LabelSet:
    return LabelSet(Label(f"k{i}", f"name {i}") for i in range(count))


def _growth(additions: list[int], retired: frozenset[int] = frozenset()) -> Growth:
    in_use = [i for i in range(len(additions)) if i not in retired]
    column_of = np.full(len(additions), -1, np.int32)
    column_of[in_use] = np.arange(len(in_use))
    return Growth(np.array(additions, np.int32), column_of)


def _sample(growth: Growth, *, count: int = 4000, seed: int = 0) -> CombinationSample:
    in_use = int((growth.column_of >= 0).sum())
    return sample_combinations(_labels(in_use), count=count, growth=growth, seed=seed)


def _texts(sample: CombinationSample) -> set[tuple[tuple[int, ...], int]]:
    """Each text: its combination and its turn."""
    pairs = zip(sample.combination.tolist(), sample.turn.tolist(), strict=True)
    return {(sample.labels_of(combination), turn) for combination, turn in pairs}


def test_labels_that_never_changed_are_dealt_as_ever() -> None:
    plain = sample_combinations(_labels(30), count=1000)
    assert _texts(_sample(_growth([0] * 30), count=1000)) == _texts(plain)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(3, 30), min_size=2, max_size=4),
    st.integers(0, 2**16),
)
def test_new_labels_get_what_old_ones_have_and_no_text_of_these_changes(
    sizes: list[int], seed: int
) -> None:
    before = sum(sizes[:-1])
    additions = [n for n, size in enumerate(sizes) for _ in range(size)]
    per_label = 90
    old = _sample(_growth(additions[:before]), count=per_label * before, seed=seed)
    new = _sample(_growth(additions), count=per_label * len(additions), seed=seed)
    fresh = _texts(new) - _texts(old)
    assert all(any(label >= before for label in labels) for labels, _ in fresh)
    # Rounding up to whole draws of five texts in each addition is all that is missing.
    gone = _texts(old) - _texts(new)
    assert len(gone) <= 5 * len(sizes)
    counts_N = new.texts_per_label()
    ours, theirs = counts_N[before:].mean(), counts_N[:before].mean()
    assert ours > 0.75 * min(theirs, old.texts_per_label().mean())


def test_retired_labels_are_in_no_combination_and_the_others_keep_theirs() -> None:
    retired = frozenset({3, 17})
    old, new = (
        _sample(_growth([0] * 30)),
        _sample(_growth([0] * 30, retired), count=4000 * 28 // 30),
    )
    in_use = [i for i in range(30) if i not in retired]
    by_id = {(tuple(in_use[n] for n in labels), turn) for labels, turn in _texts(new)}
    kept = {text for text in _texts(old) if not retired & set(text[0])}
    assert kept <= by_id
    assert not any(retired & set(labels) for labels, _ in by_id)
    assert new.texts_per_label().min() > 200


def test_where_most_labels_are_retired_the_others_are_dealt_anew() -> None:
    growth = _growth([0] * 1000 + [1] * 4, frozenset(range(5, 1000)))
    sample = _sample(growth, count=900)
    assert sample.label_count == 9
    assert sample.texts_per_label().min() > 50


def test_too_few_texts_for_the_new_labels_say_how_many_are_enough() -> None:
    growth = _growth([0] * 20 + [1] * 300)
    with pytest.raises(
        TextError, match=r"leave .* with fewer than 1.* ask for ([\d,]+) texts"
    ) as told:
        _sample(growth, count=100)
    enough = int(str(told.value).split("ask for ")[1].split(" ")[0].replace(",", ""))
    assert _sample(growth, count=enough).texts_per_label().min() >= 1
