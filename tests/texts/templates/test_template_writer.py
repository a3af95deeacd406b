"""The template writer: names all its labels and no others, varied, equal for equal requests."""

from pathlib import Path
from string import Formatter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.label_files.label_file import read_labels
from taistore.labels import Label, LabelSet
from taistore.texts.combinations.sampling import sample_combinations
from taistore.texts.language.grammar import noun
from taistore.texts.language.noun_filter import NounFilter
from taistore.texts.templates import patterns
from taistore.texts.templates.template_writer import (
    ALL_FRAGMENTS,
    TemplateWriter,
    render,
    render_short,
)
from taistore.texts.writer import TextRequest

NAMES = ["dog", "dining table", "broccoli", "scissors", "people", "umbrella", "wine glass"]


def _requests(labels: LabelSet, count: int) -> list[TextRequest]:
    sample = sample_combinations(labels, count=count, min_per_label=0, seed=5)
    return [
        TextRequest(
            combination_id=labels.combination_id(sample.labels_of(int(c))),
            label_ids=sample.labels_of(int(c)),
            turn=int(turn),
            seed=5,
            request_id=f"{c}.{turn}",
        )
        for c, turn in zip(sample.combination, sample.turn, strict=True)
    ]


def test_there_is_a_good_variety_of_distinct_patterns() -> None:
    every = [*patterns.ANY, *patterns.ALONE, *patterns.SEVERAL]
    assert len(set(every)) >= 80
    assert len(set(patterns.TAILS)) == len(patterns.TAILS)
    allowed = {"all", "first", "rest", "is_all", "is_first", "is_rest", "names", "some"}
    for pattern in every:
        slots = {field for _, field, _, _ in Formatter().parse(pattern) if field}
        assert slots <= allowed | {"medium", "tail"}, pattern


@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True),
    st.integers(0, 5000),
    st.integers(0, 2**40),
)
def test_a_text_names_every_label_whole(names: list[str], turn: int, seed: int) -> None:
    text = render([noun(name) for name in names], turn=turn, seed=seed)
    assert text == render([noun(name) for name in names], turn=turn, seed=seed)
    labels = LabelSet(Label(name, name) for name in names)
    assert len(NounFilter(labels).find(text).label_ids) == len(names)
    assert "  " not in text
    assert "{" not in text
    for wrong in (" a a", "a an ", " .", " ,", "a umbrella", "a broccoli", "two broccoli"):
        assert wrong not in f" {text}"


def test_successive_turns_walk_through_all_patterns() -> None:
    count = len(ALL_FRAGMENTS.for_labels(2))
    nouns = [noun("dog"), noun("bus")]
    assert len({render(nouns, turn=turn, seed=1) for turn in range(count)}) >= count - 3


def test_names_with_braces_are_plain_text() -> None:
    assert "{all}" in render_short([noun("a {all} sign")], attempt=1)


def test_shorter_attempts_get_shorter() -> None:
    nouns = [noun("dog"), noun("dining table")]
    texts = [render_short(nouns, attempt=attempt) for attempt in (1, 2, 3, 9)]
    assert texts == [
        "a photo of a dog and a dining table",
        "a dog and a dining table",
        "dog, dining table",
        "dog, dining table",
    ]


def test_other_labels_of_the_set_are_never_named() -> None:
    names = ["dog", "photo", "street", "night", "city", "group", "ground", "light", "day", "a few"]
    labels = LabelSet(Label(name, name) for name in names)
    writer = TemplateWriter(labels)
    found = NounFilter(labels)
    for answer in writer.write(_requests(labels, 500)):
        assert answer.text is not None
        assert found.find(answer.text).label_ids == answer.request.label_ids, answer.text


def test_a_set_that_leaves_no_fragment_still_gets_texts() -> None:
    names = [word for text in patterns.MEDIA for word in text.split()]
    labels = LabelSet(Label(name, name) for name in dict.fromkeys(names))
    assert all(answer.text for answer in TemplateWriter(labels).write(_requests(labels, 50)))


def test_number_is_kept_where_singular_and_plural_are_two_labels() -> None:
    labels = LabelSet(Label(name, name) for name in ("cloud", "clouds", "tree"))
    found = NounFilter(labels)
    for answer in TemplateWriter(labels).write(_requests(labels, 300)):
        assert found.find(answer.text or "").label_ids == answer.request.label_ids, answer.text


@pytest.mark.parametrize(
    "name", ["voc2012/classes.csv", "coco/classes.csv", "labels/nuswide-81.txt"]
)
def test_texts_of_real_label_sets_name_their_labels_only(shared_data: Path, name: str) -> None:
    labels = read_labels(shared_data / name)
    found = NounFilter(labels)
    texts = set()
    for answer in TemplateWriter(labels).write(_requests(labels, 2000)):
        assert answer.text is not None
        assert found.find(answer.text).label_ids == answer.request.label_ids, answer.text
        texts.add((answer.request.combination_id, answer.text))
    assert len(texts) > 1980
