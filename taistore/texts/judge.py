"""Where a text is judged: kept, asked for again, or refused.

A writer chooses its judge. Patterns say what they were told to say, so :class:`PlainJudge` only
looks whether a text is new and fits the encoder. What a language model says is audited:
:class:`AuditJudge`, which turns the verdicts of :mod:`taistore.texts.audit.caption_audit` into
further questions.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

from taistore.errors import TextError
from taistore.texts.audit.caption_audit import LOST_LABELS, NEAR_DUPLICATE, Audit, Verdict
from taistore.texts.audit.refusals import EMPTY, TRUNCATED
from taistore.texts.language.token_lengths import TOO_LONG
from taistore.texts.writer import (
    AskAgain,
    Judgement,
    JudgeRules,
    Kept,
    Refused,
    Retry,
    TextRequest,
    WrittenText,
)

REPEATED = "repeated"

RETRY: Mapping[str, Retry] = {
    TOO_LONG: "shorter",
    TRUNCATED: "shorter",
    NEAR_DUPLICATE: "different",
}
"""How to ask again, by what was wrong; for every other reason the same is asked once more."""

ANSWER_CHARACTERS = 20_000
"""What a model says beyond this is not looked at: no caption is near that long."""


class PlainJudge:
    """Keeps every text that the combination does not have yet and that the encoder takes whole.

    Raises :class:`TextError` on rules about lost labels: it does not look for labels.
    """

    def __init__(self, rules: JudgeRules) -> None:
        if rules.lost_labels is not None:
            raise TextError(
                f"lost_labels is {rules.lost_labels!r}: this writer's texts are not searched for "
                "labels, so leave it out"
            )
        self._limit, self._attempts = rules.limit, rules.attempts

    def judge(self, answer: WrittenText, known: Collection[str]) -> Judgement:
        """See :class:`taistore.texts.writer.Judge`."""
        request = answer.request
        text = " ".join((answer.text or "").split())
        length = self._limit(text)
        if not text:
            reason, detail = EMPTY, "the writer gave an empty text"
        elif not length.fits:
            reason, detail = TOO_LONG, f"{length.detail}: {text[:200]}"
        elif text in known:
            reason, detail = REPEATED, text[:200]
        else:
            return Kept(text=text, label_ids=request.label_ids)
        if request.attempt + 1 >= self._attempts:
            return Refused(reason=reason, detail=detail)
        # A short text that repeats another must not grow again: it stays short and varies.
        shorter = reason == TOO_LONG or request.retry == "shorter"
        return AskAgain(retry="shorter" if shorter else "different", last=text)


class AuditJudge:
    """Keeps what passes the audit, for the labels that it mentions.

    ``question`` gives the words that an answer may not repeat, ``examples`` are captions that the
    model was shown. Without ``chance`` in its answers, a model says the same to the same question,
    which is then not put again.
    """

    def __init__(
        self,
        rules: JudgeRules,
        *,
        question: Callable[[TextRequest], str],
        examples: Sequence[str] = (),
        chance: bool = True,
    ) -> None:
        self._attempts, self._lost = rules.attempts, rules.lost_labels or "reduce"
        self._question, self._examples, self._chance = question, examples, chance
        self._audit = Audit(rules.labels, limit=rules.limit, lost=self._lost)
        self._last_resort = Audit(rules.labels, limit=rules.limit, lost="reduce")

    def judge(self, answer: WrittenText, known: Collection[str]) -> Judgement:
        """See :class:`taistore.texts.writer.Judge`."""
        verdict = self._verdict(self._audit, answer, known)
        retry = RETRY.get(verdict.reason, "again")
        pointless = retry == "again" and not self._chance
        last_attempt = pointless or answer.request.attempt + 1 >= self._attempts
        if verdict.reason == LOST_LABELS and last_attempt and self._lost == "retry":
            verdict = self._verdict(self._last_resort, answer, known)
        if verdict.usable:
            return Kept(text=verdict.text, label_ids=verdict.label_ids, mentions=verdict.others)
        if last_attempt or verdict.final:
            return Refused(reason=verdict.reason, detail=verdict.detail)
        return AskAgain(retry=retry, last=verdict.text or answer.text or "")

    def _verdict(self, audit: Audit, answer: WrittenText, known: Collection[str]) -> Verdict:
        text = answer.text or ""
        return audit.check(
            text[:ANSWER_CHARACTERS],
            answer.request.label_ids,
            truncated=answer.truncated or len(text) > ANSWER_CHARACTERS,
            known=[*known, *self._examples],
            instruction=self._question(answer.request),
        )
