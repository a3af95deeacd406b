"""From where on two captions are one: a word more or less of seven, one word of eight."""

import pytest

from taistore.texts.audit.near_duplicates import THRESHOLD, near_duplicate, similarity

WORDS = ["brown", "dog", "runs", "quickly", "over", "wet", "green", "grass"]


@pytest.mark.parametrize(("count", "same", "expected"), [(8, True, 13 / 17), (7, False, 11 / 15)])
def test_one_other_word_at_the_end(count: int, same: bool, expected: float) -> None:
    text = " ".join(WORDS[:count])
    other = " ".join([*WORDS[: count - 1], "snow"])
    assert similarity(text, other) == pytest.approx(expected)
    assert (expected >= THRESHOLD) == same
    assert near_duplicate(text, [other]) == (other if same else "")


def test_articles_make_no_difference_and_the_first_twin_is_named() -> None:
    known = ["A cat sleeps", "The dog is on a sofa.", "a dog on the sofa"]
    assert near_duplicate("A dog on the sofa", known) == known[1]
    assert near_duplicate("A dog on the blue sofa", ["A dog on the red sofa"]) == ""
    assert near_duplicate("a dog", []) == ""
