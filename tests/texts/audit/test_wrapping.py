"""What models wrap around captions, stripped; captions themselves, untouched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taistore.texts.audit.wrapping import unwrap, whole_sentences

WRAPPERS = (
    "{}",
    '"{}"',
    "'{}'",
    "\u201c{}\u201d",
    "\u00ab{}\u00bb",
    "**{}**",
    "*{}*",
    "__{}__",
    "`{}`",
    "# {}",
    "> {}",
    "- {}",
    "* {}",
    "\u2022 {}",
    "1. {}",
    "1) {}",
    "Caption: {}",
    "Caption 1: {}",
    "**Caption:** {}",
    "Here is a caption: {}",
    "Here's a natural sentence describing the image:\n\n{}",
    "Sure! {}",
    "Sure, here is one possible caption for the image:\n{}",
    "Certainly! Here are three captions:\n1. {}\n2. A second caption with a kite.",
    "Of course! A shorter version: {}",
    "<think>The user wants a caption. Let me see: a dog?</think>\n\n{}",
    "The user wants a caption.</think>{}",
    "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "<|im_start|>assistant\n{}<|im_end|>",
    "{}</s>",
    "```\n{}\n```",
    "```text\n{}\n```",
    "{}\n\nLet me know if you'd like another one!",
    "{} I hope this helps!",
    "{}\n\nNote: this caption mentions both labels.",
    "{} (12 words)",
    "{} \U0001f436\u2728",
    "\U0001f436 {}",
    "{} #dog #sofa #cute",
    "{}\n\n{}",
    '{{"caption": "{}"}}',
    '["{}", "A second caption."]',
    "As an AI, I cannot see images. However, here is a caption: {}",
    "   {}   \n",
    "---\n{}\n---",
)
SAID = "dog sofa red bus the a of two cats walking near windows bird's mother-in-law TV"
WORDS = SAID.split()
CAPTIONS = (
    st.lists(st.sampled_from(WORDS), min_size=3, max_size=12)
    .map(lambda words: " ".join(["A", *words]))
    .flatmap(lambda text: st.sampled_from([text + ".", text, text + "!"]))
)


@given(CAPTIONS)
def test_a_clean_caption_is_unchanged(caption: str) -> None:
    assert unwrap(caption) == caption


@given(CAPTIONS, st.sampled_from(WRAPPERS))
def test_any_wrapper_comes_off(caption: str, wrapper: str) -> None:
    # Two sentences in a line are two sentences: a wrapper that goes on needs an end before it.
    sentence = caption if caption.endswith((".", "!")) else caption + "."
    assert unwrap(wrapper.format(sentence, sentence)) == sentence


@given(CAPTIONS, st.sampled_from(WRAPPERS[1:26]), st.sampled_from(WRAPPERS[25:]))
def test_wrappers_in_wrappers_come_off(caption: str, inner: str, outer: str) -> None:
    sentence = caption if caption.endswith((".", "!")) else caption + "."
    once = inner.format(sentence)
    if "\n" in once or '"' in once:
        return
    assert unwrap(outer.format(once, once)) == sentence


@given(st.text(max_size=80) | st.lists(st.sampled_from([*WRAPPERS, *WORDS, "\n"])).map(" ".join))
def test_unwrapping_twice_changes_nothing(raw: str) -> None:
    once = unwrap(raw)
    assert unwrap(once) == once
    assert "\n" not in once


@pytest.mark.parametrize(
    ("raw", "caption"),
    [
        ("A dog sits,\nlooking at the sofa.", "A dog sits, looking at the sofa."),
        ("Here are some captions:\n\n* A dog.\n* A cat.", "A dog."),
        ('"A dog." - 2 words', "A dog."),
        ("Caption: ", ""),
        ("Sure!", ""),
        ("1.", ""),
        ("**Dog on a sofa** in the *sun*", "Dog on a sofa in the sun"),
        ("[A dog](https://example.org) on a sofa", "A dog on a sofa"),
        ("A dog and its \u2018friend\u2019", "A dog and its \u2018friend\u2019"),
        ('"A dog" and "a cat"', '"A dog" and "a cat"'),
        ('{"captions": ["A dog.", "A cat."]}', "A dog."),
        ("<think>unfinished", ""),
    ],
)
def test_cases(raw: str, caption: str) -> None:
    assert unwrap(raw) == caption


def test_whole_sentences() -> None:
    assert whole_sentences("A dog. A cat in the") == "A dog."
    assert whole_sentences("A dog in the") == ""
    assert whole_sentences('"A dog." A') == '"A dog."'


@pytest.mark.parametrize(
    ("raw", "caption"),
    [
        ('In a sentence, I would create:\n\n"A bird on a branch."', "A bird on a branch."),
        ("The image is a bird, and you could say:\n\nA bird on a branch.", "A bird on a branch."),
        ("I'm glad you've found it! This hot dog is huge.", "This hot dog is huge."),
        ('The sentence is: "A car on a road."', "A car on a road."),
        ("The image is a car.", "The image is a car."),
        ("A train - a symbol of endurance.", "A train - a symbol of endurance."),
        ('The image below shows the word "car" used to create a sentence.', ""),
    ],
)
def test_answers_that_a_small_model_gave(raw: str, caption: str) -> None:
    assert unwrap(raw) == caption
