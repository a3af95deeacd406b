"""Where captions are judged: what is kept, asked for again and how, or refused."""

from collections.abc import Sequence

import pytest

from taistore.errors import TextError
from taistore.labels import Label, LabelSet
from taistore.texts.judge import ANSWER_CHARACTERS, AuditJudge, PlainJudge
from taistore.texts.language.token_lengths import Length
from taistore.texts.writer import (
    AskAgain,
    JudgeRules,
    Kept,
    Refused,
    Retry,
    TextRequest,
    WrittenText,
)

LABELS = LabelSet([Label(n, n) for n in ("dog", "sofa", "kite")])
DOG, SOFA, KITE = range(3)


def _rules(**changes: object) -> JudgeRules:
    given: dict[str, object] = {
        "labels": LABELS,
        "limit": lambda text: Length(len(text.split()), 12),
        "attempts": 3,
        **changes,
    }
    return JudgeRules(**given)  # type: ignore[arg-type]  # each test changes what it is about


def _said(
    text: str,
    label_ids: Sequence[int] = (DOG, SOFA),
    *,
    attempt: int = 0,
    retry: Retry | None = None,
    truncated: bool = False,
) -> WrittenText:
    request = TextRequest(
        combination_id=1,
        label_ids=tuple(label_ids),
        turn=0,
        seed=0,
        request_id=f"r.{attempt}",
        attempt=attempt,
        retry=retry,
    )
    return WrittenText(request=request, text=text, truncated=truncated)


def _audit(rules: JudgeRules, *, examples: Sequence[str] = (), chance: bool = True) -> AuditJudge:
    return AuditJudge(
        rules, question=lambda _: "Describe dog, sofa.", examples=examples, chance=chance
    )


def test_a_plain_judge_keeps_whatever_is_new_and_fits() -> None:
    judge = PlainJudge(_rules())
    assert judge.judge(_said(" two \n words "), {}) == Kept(text="two words", label_ids=(DOG, SOFA))
    long, again = "word " * 13, ["a dog"]
    assert judge.judge(_said(long), {}) == AskAgain(retry="shorter", last=long.strip())
    assert judge.judge(_said("a dog"), again) == AskAgain(retry="different", last="a dog")
    assert judge.judge(_said(" "), {}) == AskAgain(retry="different", last="")


def test_a_text_that_was_made_shorter_stays_short_when_it_is_varied() -> None:
    judge = PlainJudge(_rules())
    repeated = _said("a dog", attempt=1, retry="shorter")
    assert judge.judge(repeated, ["a dog"]) == AskAgain(retry="shorter", last="a dog")


@pytest.mark.parametrize(
    ("text", "reason"), [("a dog", "repeated"), ("word " * 13, "too_long"), ("", "empty")]
)
def test_a_plain_judge_gives_up_after_the_last_attempt(text: str, reason: str) -> None:
    judgement = PlainJudge(_rules()).judge(_said(text, attempt=2), ["a dog"])
    assert isinstance(judgement, Refused)
    assert judgement.reason == reason
    assert judgement.detail


def test_a_plain_judge_does_not_look_for_labels() -> None:
    with pytest.raises(TextError, match="lost_labels is 'drop'"):
        PlainJudge(_rules(lost_labels="drop"))


def test_an_audit_says_what_else_is_mentioned_and_reduces_what_lost_labels() -> None:
    judge = _audit(_rules())
    whole = judge.judge(_said("A dog and a kite on a sofa."), {})
    assert whole == Kept(
        text="A dog and a kite on a sofa.", label_ids=(DOG, SOFA), mentions=(KITE,)
    )
    assert judge.judge(_said("A dog in the sun."), {}) == Kept(
        text="A dog in the sun.", label_ids=(DOG,), mentions=()
    )


def test_lost_labels_are_asked_for_again_and_reduced_in_the_end() -> None:
    judge = _audit(_rules(lost_labels="retry"))
    first = judge.judge(_said("A dog in the sun."), {})
    assert first == AskAgain(retry="again", last="A dog in the sun.")
    last = judge.judge(_said("A dog in the sun.", attempt=2), {})
    assert last == Kept(text="A dog in the sun.", label_ids=(DOG,), mentions=())
    dropped = _audit(_rules(lost_labels="drop")).judge(_said("A dog in the sun."), {})
    assert isinstance(dropped, Refused)
    assert dropped.reason == "lost_labels"


@pytest.mark.parametrize(
    ("text", "truncated", "retry"),
    [
        ("A dog on a sofa near a wall by the road in the sun.", False, "shorter"),
        ("A dog on a", True, "shorter"),
        ("A dog is on the sofa", False, "different"),
        ("I'm sorry, but I cannot help with that.", False, "again"),
        ("Make a dog lie on a sofa" + " x" * ANSWER_CHARACTERS, False, "shorter"),
    ],
)
def test_what_was_wrong_says_how_to_ask_again(text: str, truncated: bool, retry: Retry) -> None:
    judgement = _audit(_rules()).judge(_said(text, truncated=truncated), ["A dog on a sofa."])
    assert isinstance(judgement, AskAgain)
    assert judgement.retry == retry


def test_an_example_is_no_caption() -> None:
    example = "A dog asleep on the old sofa."
    judgement = _audit(_rules(), examples=[example]).judge(_said(example), {})
    assert judgement == AskAgain(retry="different", last=example)


def test_without_chance_the_same_question_is_not_put_again() -> None:
    refusal = _said("I'm sorry, but I cannot help with that.")
    judgement = _audit(_rules(), chance=False).judge(refusal, {})
    assert isinstance(judgement, Refused)
    assert judgement.reason == "refusal"
    # A follow-up is another question.
    assert isinstance(
        _audit(_rules(), chance=False).judge(_said("A dog on a", truncated=True), {}), AskAgain
    )
