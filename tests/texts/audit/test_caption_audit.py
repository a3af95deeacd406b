"""The audit of captions: what is usable, for which labels, and why not."""

import json
import time
from pathlib import Path

import pytest

from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.texts.audit.caption_audit import REASONS, Audit, Lost
from taistore.texts.audit.refusals import general
from taistore.texts.audit.wrapping import sentences
from taistore.texts.language.token_lengths import Length

NAMES = ("person", "dog", "sofa", "bus", "bear", "hot dog", "teddy bear", "Running", "smile")
LABELS = LabelSet(
    [Label(name, name) for name in NAMES]
    + [Label("/m/1", "organ"), Label("/m/2", "organ"), Label("cab", "taxi", ("yellow cab",))]
)
PERSON, DOG, SOFA, BUS, BEAR, HOT_DOG, TEDDY, RUNNING, SMILE, ORGAN, ORGAN_2, TAXI = range(12)


def _reason(raw: str, *label_ids: int, truncated: bool = False) -> str:
    return Audit(LABELS).check(raw, label_ids or (DOG, SOFA), truncated=truncated).reason


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("A dog sleeps on a sofa.", ""),
        ("", "empty"),
        (" \n\n ", "empty"),
        ("<think>A dog on a sofa, let me see</think>", "empty"),
        ("...", "empty"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("As an AI language model, I am not able to see a dog or a sofa.", "refusal"),
        ("Unfortunately, no image was provided.", "refusal"),
        ("Ein Hund liegt neben dem sofa auf der Decke.", "foreign"),
        ("Un chien est assis sur le sofa rouge avec une balle.", "foreign"),
        ("Un perro está en el sofa con una pelota.", "foreign"),
        ("犬がソファに座っている", "foreign"),
        ("A dog rests on a sofa next to a 自行车 in the warm light.", "foreign"),
        ("Собака лежит на диване", "foreign"),
        ("A [label] sits on a sofa.", "placeholder"),
        ("A {dog} sits on a sofa", "placeholder"),
        ("A <name> with a dog on a sofa", "placeholder"),
        ("A dog and ___ on a sofa", "placeholder"),
        ("Label 1 sits on label 2", "placeholder"),
        ("a dog on a sofa a dog on a sofa a dog on a sofa", "repetition"),
        ("dog dog dog dog on the sofa", "repetition"),
        ("A dog on a sofa. A dog on a sofa. A dog on a sofa.", "repetition"),
        ("Write a caption that mentions a dog and a sofa.", "echo"),
        ("dog, sofa", "echo"),
        ("Labels: dog, sofa", "echo"),
        ("Sure! I can help with that.", "talk"),
        ("What would you like me to write?", "talk"),
        ("A sofa is a piece of furniture for a dog.", "general"),
        ("A dog is a dog in the garden beside the sofa.", "general"),
        ("Dogs and sofas are kinds of things that people love.", "general"),
        ("A sofa is used to rest.", "general"),
        ("This dog on a sofa is often called lazy.", "general"),
        ("A dog on a sofa is a perfect example of how an image can tell.", "general"),
        ("The dog and the sofa symbolize peace.", "general"),
        ("A dog on a sofa is a common illustration of rest.", "general"),
        ("A dog and a sofa are two very different things.", "general"),
        ("The sofa, typically a place in the world of a dog", "general"),
        ("A cat sleeps on a chair.", "lost_labels"),
    ],
)
def test_reasons(raw: str, reason: str) -> None:
    assert _reason(raw) == reason
    assert reason == "" or reason in REASONS


@pytest.mark.parametrize(
    "text",
    [
        'A dog beside a sofa under a sign that says "STOP".',
        '"Hello" says the dog on the sofa, "hello".',
        "The dog's ball lies on the sofa",
        "A very, very happy dog on a sofa; a second dog sleeps.",
        "Two dogs: one on the sofa, the other under it",
        "I can see my dog and the sofa from here",
        "A dog with a croissant and crème brûlée on the sofa",
        "Is that a dog on the sofa?",
        "3 dogs, 2 cats and a sofa",
        "Great Danes are dogs that need a great sofa.",
        "You can see a dog on the sofa.",
        "dog on a sofa",
        'The words "NO DOGS" are painted on a sofa.',
        "A dog sits on the sofa - the cat does not.",
        "This is a dog on a sofa.",
        "There is a dog that is lying on a sofa.",
        "A dog is on the sofa, a cat is under it.",
        "A sofa is covered by a dog and a couple of pillows.",
        "The dog is one of three on the sofa",
        "A used sofa with a dog that often barks",
        "Between a chair and a sofa is a sleeping dog.",
        "Standing beside the sofa is a dog that waves its tail.",
        "On the sofa are two different dogs.",
        "A dog on a sofa is a blur of fur.",
        "A dog is used to lying on a sofa next to the window.",
        "A dog on a sofa as a digital clock glows above it.",
        "The photo attached to the sofa shows a dog.",
        "Using a laptop on a sofa, a woman edits photos of her dog.",
        "Sure-footed dog walks over a sofa",
        "Great, shaggy dog on a sofa",
        "A dog watches closed captions from a sofa",
    ],
)
def test_clean_captions_stay_as_they_are(text: str) -> None:
    verdict = Audit(LABELS).check(text, (DOG, SOFA))
    assert (verdict.text, verdict.reason, verdict.label_ids) == (text, "", (DOG, SOFA))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (
            "A dog lies on a sofa, capturing the essence of a slow Sunday.",
            "A dog lies on a sofa.",
        ),
        ("A dog guards a sofa \u2014 a testament to its loyalty.", "A dog guards a sofa."),
        ("A dog on a red sofa, a sofa is a comfortable seat.", "A dog on a red sofa."),
        ("A dog naps on a sofa. Sofas are often used by dogs.", "A dog naps on a sofa."),
        ("Brief caption: A dog on a sofa.", "A dog on a sofa."),
        ("Caption (brief): A dog on a sofa.", "A dog on a sofa."),
        ("Shortened: A dog on a sofa.", "A dog on a sofa."),
        ("Organized sentence: A dog on a sofa.", "A dog on a sofa."),
        (json.dumps(["A dog on a sofa.", *["A cat on a chair."] * 200]), "A dog on a sofa."),
    ],
)
def test_what_is_around_a_caption_is_taken_off(raw: str, text: str) -> None:
    verdict = Audit(LABELS).check(raw, (DOG, SOFA))
    assert (verdict.text, verdict.reason, verdict.label_ids) == (text, "", (DOG, SOFA))


WRAPPING = (
    ">",
    "- ",
    "1. ",
    "\u201c",
    '"',
    "Sure! ",
    "Caption: ",
    " ",
    ".",
    "[[",
    "<think>",
    "is a ",
)


@pytest.mark.parametrize("part", WRAPPING)
def test_a_runaway_answer_is_judged_quickly(part: str) -> None:
    raw = (part * 20_000)[:20_000] + " a dog on a sofa"
    started = time.process_time()
    Audit(LABELS).check(raw, (DOG, SOFA))
    assert time.process_time() - started < 3


def test_human_captions_are_not_taken_for_definitions(shared_data: Path) -> None:
    lines = (shared_data / "captions" / "coco-val2017.jsonl").read_text("utf-8").splitlines()
    captions = [json.loads(line)["caption"] for line in lines]
    refused = [text for text in captions if any(map(general, sentences(text)))]
    assert len(captions) > 20_000
    assert len(refused) / len(captions) < 0.001, refused


def test_mentions_own_and_others() -> None:
    verdict = Audit(LABELS).check("A man eats hot dogs in a bus, teddy bear in arm", (PERSON, DOG))
    assert verdict.label_ids == (PERSON,)
    assert verdict.others == (BUS, HOT_DOG, TEDDY)


def test_names_that_may_mean_other_things_count_where_asked_for() -> None:
    audit = Audit(LABELS)
    assert audit.check("A father and his dog.", (PERSON, DOG)).label_ids == (PERSON, DOG)
    assert audit.check("A mother bear and a dog.", (DOG,)).others == (BEAR,)
    assert audit.check("A tourist and a dog.", (DOG,)).others == (PERSON,)


def test_a_shared_name_counts_for_the_key_that_was_asked() -> None:
    audit = Audit(LABELS)
    assert audit.check("An old organ.", (ORGAN_2,)).label_ids == (ORGAN_2,)
    assert audit.check("An organ and an organ.", (ORGAN, ORGAN_2)).label_ids == (ORGAN, ORGAN_2)
    assert audit.check("A dog near an organ.", (DOG,)).others == ()


def test_verbs_and_synonyms_count_for_their_label() -> None:
    audit = Audit(LABELS)
    assert audit.check("She runs and smiles.", (RUNNING, SMILE)).label_ids == (RUNNING, SMILE)
    assert audit.check("Two yellow cabs wait.", (TAXI,)).label_ids == (TAXI,)
    assert audit.check("A dog runs.", (DOG,)).others == ()


@pytest.mark.parametrize(
    ("lost", "reason", "final"),
    [("reduce", "", False), ("retry", "lost_labels", False), ("drop", "lost_labels", True)],
)
def test_lost_labels(lost: Lost, reason: str, final: bool) -> None:
    audit = Audit(LABELS, lost=lost)
    verdict = audit.check("A dog on the grass.", (DOG, SOFA))
    assert (verdict.label_ids, verdict.reason, verdict.final) == ((DOG,), reason, final)
    assert audit.check("A cat.", (DOG, SOFA)).reason == "lost_labels"
    assert audit.check("A dog on a sofa.", (DOG, SOFA)).usable


def test_too_long_is_told_apart() -> None:
    audit = Audit(LABELS, limit=lambda text: Length(len(text.split()), 6))
    assert audit.check("A dog on a sofa.", (DOG, SOFA)).reason == ""
    long = audit.check("A dog on a very long red sofa.", (DOG, SOFA))
    assert long.reason == "too_long"
    assert "8 tokens" in long.detail


@pytest.mark.parametrize(
    ("raw", "text", "reason"),
    [
        ("A dog lies on a sofa. Behind it the", "A dog lies on a sofa.", ""),
        ("A dog lies on a sofa.\nA dog lies on", "A dog lies on a sofa.", ""),
        ("A dog lies on a sofa beside the", "", "truncated"),
        ("Here is a caption:\n1. A dog lies", "", "truncated"),
        ("<think>The user wants a dog. I think", "", "truncated"),
        ('1. "A dog on a sofa."\n2. "A dog', "A dog on a sofa.", ""),
    ],
)
def test_truncated(raw: str, text: str, reason: str) -> None:
    verdict = Audit(LABELS).check(raw, (DOG, SOFA), truncated=True)
    assert (verdict.text, verdict.reason) == (text, reason)


def test_near_duplicates_of_known_captions() -> None:
    audit = Audit(LABELS)
    known = ["A dog sits on the sofa."]
    assert audit.check("The dog is on sofa sits", (DOG, SOFA), known=known).reason == ""
    assert audit.check("A dog sits on a sofa", (DOG, SOFA), known=known).reason == "near_duplicate"


def test_an_instruction_given_back_is_an_echo() -> None:
    told = "We need one plain line about the dog lying somewhere on the sofa"
    check = Audit(LABELS).check
    assert check("One plain line about the dog lying", (DOG,), instruction=told).reason == "echo"
    assert check("A plain dog is lying somewhere", (DOG,), instruction=told).reason == ""


def test_wrong_lost_is_named() -> None:
    with pytest.raises(TextError, match="lost is 'all': it must be one of retry"):
        Audit(LABELS, lost="all")  # type: ignore[arg-type]  # what a user may pass
