"""The audit of a caption before it enters the store: unwrapped, checked, its labels counted."""

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from taistore.errors import TextError
from taistore.labels import LabelSet
from taistore.texts.audit.near_duplicates import near_duplicate
from taistore.texts.audit.refusals import (
    ECHO,
    EMPTY,
    FOREIGN,
    GENERAL,
    PLACEHOLDER,
    REFUSAL,
    REPETITION,
    TALK,
    TRUNCATED,
    echoes,
    foreign,
    general,
    loops,
    particular,
    placeholder,
    refusal,
)
from taistore.texts.audit.wrapping import (
    MOST_CHARACTERS,
    sentences,
    talks,
    unwrap,
    whole_sentences,
    without_reasoning,
)
from taistore.texts.language.noun_filter import NounFilter
from taistore.texts.language.token_lengths import TOO_LONG, Length

LOST_LABELS = "lost_labels"
NEAR_DUPLICATE = "near_duplicate"

REASONS = (
    EMPTY, REFUSAL, FOREIGN, TRUNCATED, ECHO, PLACEHOLDER, REPETITION, TALK, GENERAL, TOO_LONG,
    LOST_LABELS, NEAR_DUPLICATE,
)  # fmt: skip
"""Every code that :attr:`Verdict.reason` can hold besides "" (usable)."""

_COMBINATIONS_KNOWN, _TEXTS_KNOWN = 10_000, 16

Lost = Literal["retry", "reduce", "drop"]
LOST: tuple[Lost, ...] = ("retry", "reduce", "drop")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the audit found of one answer.

    ``text``: the caption without its wrapping, "" where there is none. ``label_ids``, ascending:
    those of its labels that it mentions. ``others``, ascending: further labels of the set that it
    mentions, hidden positives. ``reason``: "" where it is usable, else a code of ``REASONS``;
    ``detail`` says in a line what was wrong. ``final``: asking again is not wanted.
    """

    text: str
    label_ids: tuple[int, ...]
    others: tuple[int, ...]
    reason: str = ""
    detail: str = ""
    final: bool = False

    @property
    def usable(self) -> bool:
        """Whether the caption may enter the store, for ``label_ids``."""
        return not self.reason


class Audit:
    """Checks captions against a label set; made once, for any number of captions.

    ``limit`` measures a caption against the encoder's context, as
    :func:`taistore.texts.language.token_lengths.length_check` does; without it none is too long.
    ``lost`` says what becomes of a caption that lost some of its labels: "reduce" keeps it for
    those that it mentions, "retry" has it written again, "drop" gives it up. One that lost all is
    never usable.
    """

    def __init__(
        self,
        labels: LabelSet,
        *,
        limit: Callable[[str], Length] | None = None,
        lost: Lost = "reduce",
    ) -> None:
        if lost not in LOST:
            raise TextError(f"lost is {lost!r}: it must be one of {', '.join(LOST)}")
        self._labels = labels
        self._limit = limit
        self._lost = lost
        self._filter = NounFilter(labels)

    def check(
        self,
        raw: str,
        label_ids: Sequence[int],
        *,
        truncated: bool = False,
        known: Collection[str] = (),
        instruction: str = "",
    ) -> Verdict:
        """The verdict on one answer that was to show the labels ``label_ids``.

        ``truncated``: the model stopped at its most tokens; what it was writing then is cut off.
        ``known`` holds the captions of the combination so far, which it may not repeat;
        ``instruction`` the words of the request, which are no answer.
        """
        names = [name for i in label_ids for name in self._names(i)]
        text = self._shown(_caption(raw, truncated=truncated), label_ids)
        reason, detail = self._form(raw, text, names, truncated=truncated, instruction=instruction)
        if reason:
            return Verdict(text, (), (), reason, detail)
        mentioned, others = self.mentions(text, label_ids)
        lost = [self._labels[i].name for i in label_ids if i not in mentioned]
        if lost and (not mentioned or self._lost != "reduce"):
            detail = f"does not mention {', '.join(lost)}: {text[:200]}"
            return Verdict(text, mentioned, others, LOST_LABELS, detail, self._lost == "drop")
        twin = near_duplicate(text, known)
        if twin:
            return Verdict(text, mentioned, others, NEAR_DUPLICATE, f"{text[:200]} = {twin[:200]}")
        return Verdict(text, mentioned, others)

    def _shown(self, text: str, label_ids: Sequence[int]) -> str:
        """``text`` without what it says about meaning, where the rest names the same labels."""
        parts = sentences(text)
        kept = [particular(part) for part in parts]
        if kept == parts:
            return text
        rest = " ".join(filter(None, kept))
        same = bool(rest) and self.mentions(rest, label_ids)[0] == self.mentions(text, label_ids)[0]
        return rest if same else text

    def mentions(
        self, text: str, label_ids: Sequence[int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Which of its labels a caption mentions, and which others of the set; both ascending.

        Its own count by name, synonym, inflection ("smiling" for smile) and everyday name ("man"
        for person); a name that several keys share counts for its own. Others count but for verbs.
        """
        found = self._filter.find(text, asked=frozenset(label_ids), everyday=True).label_ids
        own = tuple(i for i in found if i in label_ids)
        return own, tuple(i for i in found if i not in label_ids)

    def tokens(self, text: str) -> int | None:
        """Tokens of a caption as the encoder counts them, None where no ``limit`` was given."""
        return self._limit(text).tokens if self._limit else None

    def _names(self, label_id: int) -> tuple[str, ...]:
        label = self._labels[label_id]
        return (label.name, *label.synonyms)

    def _form(
        self, raw: str, text: str, names: list[str], *, truncated: bool, instruction: str
    ) -> tuple[str, str]:
        """Reason and detail of what is wrong whatever the labels, or two empty strings."""
        quoted = " ".join(raw.split())[:200]
        if not text:
            return _nothing(raw, names, truncated=truncated, instruction=instruction), quoted
        if not any(c.isalnum() for c in text):
            return EMPTY, quoted
        if refusal(text):
            return REFUSAL, text[:200]
        if placeholder(text):
            return PLACEHOLDER, f"{placeholder(text)}: {text[:200]}"
        if loops(text):
            return REPETITION, text[:200]
        if echoes(text, names, instruction):
            return ECHO, text[:200]
        if foreign(text, names):
            return FOREIGN, text[:200]
        if any(map(talks, sentences(text))):
            return TALK, text[:200]
        if any(map(general, sentences(text))):
            return GENERAL, text[:200]
        length = self._limit(text) if self._limit else None
        if length is not None and not length.fits:
            return TOO_LONG, f"{length.detail}: {text[:200]}"
        return "", ""


class FileAudit:
    """Audits the captions of a file one after another, each against those before it.

    Of the combinations that were met last, the last captions are known; so memory is bounded.
    """

    def __init__(self, labels: LabelSet, *, limit: Callable[[str], Length] | None = None) -> None:
        self.audit = Audit(labels, limit=limit)
        self._labels = labels
        self._known: OrderedDict[int, deque[str]] = OrderedDict()

    def check(self, raw: str, label_ids: Sequence[int]) -> Verdict:
        """The verdict on a caption that is to show ``label_ids``, ascending."""
        combination = self._labels.combination_id(label_ids)
        known = self._known.setdefault(combination, deque(maxlen=_TEXTS_KNOWN))
        self._known.move_to_end(combination)
        if len(self._known) > _COMBINATIONS_KNOWN:
            self._known.popitem(last=False)
        verdict = self.audit.check(raw, label_ids, known=known)
        if verdict.usable:
            known.append(verdict.text)
        return verdict


def _nothing(raw: str, names: list[str], *, truncated: bool, instruction: str) -> str:
    """Why an answer holds no caption."""
    spoken = without_reasoning(raw)[:MOST_CHARACTERS]
    if refusal(spoken):
        return REFUSAL
    if truncated and raw.strip():
        return TRUNCATED
    if not any(map(str.isalpha, spoken)):
        return EMPTY
    return ECHO if echoes(spoken, names, instruction) else TALK


def _caption(raw: str, *, truncated: bool) -> str:
    """The caption of an answer; of one that broke off, what came to its end."""
    if not truncated:
        return unwrap(raw)
    return unwrap(whole_sentences(without_reasoning(raw)))
