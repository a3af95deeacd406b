"""Noun forms: read by eye on the VOC, COCO, NUS-WIDE and OpenImages lists, kept here by example."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.label_files.label_file import read_labels
from taistore.labels import Label, LabelSet
from taistore.texts.language.grammar import (
    decapitalise,
    label_nouns,
    noun,
    other_number,
    sentence_case,
    with_article,
)


@pytest.mark.parametrize(
    "phrase",
    [
        "an aeroplane",
        "an umbrella",
        "a unicorn",
        "a uniform",
        "a European car",
        "an hour",
        "an honest man",
        "a hotel",
        "an SUV",
        "an suv",
        "a NASA rocket",
        "a UFO",
        "an LED lamp",
        "an X-ray",
        "a TV",
        "a tv monitor",
        "an F1 car",
        "an f355",
        "a z4",
        "an 8 ball",
        "an 18 wheeler",
        "an 11 o'clock",
        "a 110 year old tree",
        "an 1800s house",
        "a 1 way street",
        "an 80 label set",
        "an oven",
        "a one way street",
    ],
)
def test_article_goes_by_sound(phrase: str) -> None:
    assert with_article(phrase.split(" ", 1)[1]) == phrase


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        ("dining table", "a dining table", "two dining tables"),
        ("potted plant", "a potted plant", "two potted plants"),
        ("person", "a person", "two people"),
        ("man", "a man", "two men"),
        ("fireman", "a fireman", "two firemen"),
        ("specimen", "a specimen", "two specimens"),
        ("sheep", "a sheep", "two sheep"),
        ("bus", "a bus", "two buses"),
        ("mouse", "a mouse", "two mice"),
        ("knife", "a knife", "two knives"),
        ("toothbrush", "a toothbrush", "two toothbrushes"),
        ("wine glass", "a wine glass", "two wine glasses"),
        ("hot dog", "a hot dog", "two hot dogs"),
        ("aircraft", "an aircraft", "two aircraft"),
        ("cactus", "a cactus", "two cacti"),
        ("SUV", "an SUV", "two SUVs"),
        ("tv", "a tv", "two tvs"),
        ("cup of coffee", "a cup of coffee", "two cups of coffee"),
        ("bird of prey", "a bird of prey", "two birds of prey"),
        ("birds", "a bird", "two birds"),
        ("buildings", "a building", "two buildings"),
        ("leaves", "a leaf", "two leaves"),
        ("skis", "a pair of skis", "two pairs of skis"),
        ("scissors", "a pair of scissors", "two pairs of scissors"),
        ("stairs", "stairs", "two stairs"),
        ("people", "people", "two people"),
        ("broccoli", "broccoli", "some broccoli"),
        ("grass", "grass", "some grass"),
        ("sparkling water", "sparkling water", "some sparkling water"),
        ("snow", "snow", "some snow"),
        ("dancing", "dancing", "some dancing"),
        ("ceiling", "a ceiling", "two ceilings"),
        ("rice and curry", "rice and curry", "some rice and curry"),
        ("arroz con pollo", "arroz con pollo", "some arroz con pollo"),
        ("rosaceae", "rosaceae", "some rosaceae"),
        ("whale", "a whale", "two whales"),
        ("whales", "a whale", "two whales"),
        ("Paris", "Paris", "Paris"),
        ("Isle of man tt", "Isle of man tt", "some Isle of man tt"),
        ("organ (pipe organ)", "an organ (pipe organ)", "two organs (pipe organ)"),
        ("Ferrari f355", "a Ferrari f355", "two Ferrari f355s"),
        ("tennis", "tennis", "some tennis"),
        ("tennis racket", "a tennis racket", "two tennis rackets"),
        ("lens", "a lens", "two lenses"),
        ("hercules", "a hercules", "two herculeses"),
        ("café", "a café", "two cafés"),
        ("犬", "犬", "犬"),
        ("|", "|", "|"),
    ],
)
def test_forms(name: str, one: str, two: str) -> None:
    forms = noun(name)
    assert (forms.one, forms.counted("two", "some")) == (one, two)


def test_agreement() -> None:
    assert not noun("dog").one_is_plural
    assert noun("dog").some_is_plural
    assert not noun("scissors").one_is_plural
    assert noun("stairs").one_is_plural
    assert not noun("broccoli").some_is_plural


def test_as_named_keeps_the_number_of_the_name() -> None:
    cloud = noun("cloud").as_named("cloud")
    assert (cloud.one, cloud.some, cloud.counted("two", "some")) == ("a cloud",) * 3
    clouds = noun("clouds").as_named("clouds")
    assert (clouds.one, clouds.some, clouds.counted("two", "some")) == (
        "clouds",
        "clouds",
        "two clouds",
    )


def test_other_number() -> None:
    assert other_number("shoes") == ["shoe"]
    assert other_number("shorts") == []
    assert other_number("glasses") == []
    assert other_number("people") == ["person"]
    assert other_number("London") == []


def test_sentence_case_lists_lose_their_large_letters() -> None:
    names = ["Dining table", "German shepherd", "BMX bike", "Shark", "Taco", "Tree", "Egg"]
    assert not sentence_case(names)
    names += ["Oven", "Gate", "Iron man"]
    assert sentence_case(names)
    labels = LabelSet(Label(name, name) for name in names)
    inside = [name for name, _ in label_nouns(labels)]
    assert inside[:4] == ["dining table", "German shepherd", "BMX bike", "shark"]
    assert decapitalise("C") == "C"


def test_names_in_other_lists_keep_their_case() -> None:
    labels = LabelSet([Label("a", "Eiffel Tower"), Label("b", "dog")])
    assert [name for name, _ in label_nouns(labels)] == ["Eiffel Tower", "dog"]


@given(st.text(min_size=1).filter(lambda name: name.strip()))
def test_any_name_has_forms(name: str) -> None:
    forms = noun(name)
    for form in (forms.one, forms.some, forms.counted("two", "some")):
        assert form.strip()
    other_number(name)
    decapitalise(" ".join(name.split()))


def test_every_openimages_name_reads_as_a_noun(shared_data: Path) -> None:
    labels = read_labels(shared_data / "labels" / "openimages-trainable.csv")
    for name, forms in label_nouns(labels):
        assert forms.one.endswith((forms.singular, forms.plural)), name
        assert not forms.one.startswith(("a a ", "an an ")), name
        if forms.kind == "count":
            assert forms.singular != forms.plural or forms.plural == name, name
