"""The ``template`` writer: combinations put into sentences by patterns, offline."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import gcd
from random import Random
from typing import NamedTuple

from taistore.labels import LabelSet
from taistore.texts.judge import PlainJudge
from taistore.texts.language.grammar import Noun, label_nouns
from taistore.texts.language.noun_filter import NounFilter
from taistore.texts.templates import patterns
from taistore.texts.writer import Judge, JudgeRules, TextRequest, WrittenText

TEMPLATES_VERSION = 1
"""Raised when patterns or their choice change, so that texts tell which version wrote them."""

TAIL_RATE = 0.4
SENTENCE_RATE = 0.4
ONE_RATE, SOME_RATE = 0.65, 0.15


class Phrase(NamedTuple):
    """Words for one or more labels, and whether they take "are"."""

    text: str
    plural: bool


@dataclass(frozen=True, slots=True)
class Fragments:
    """The patterns and fillers that one label set can use."""

    any: tuple[str, ...] = patterns.ANY
    alone: tuple[str, ...] = patterns.ALONE
    several: tuple[str, ...] = patterns.SEVERAL
    media: tuple[str, ...] = patterns.MEDIA
    tails: tuple[str, ...] = patterns.TAILS
    quantities: tuple[tuple[str, str], ...] = patterns.QUANTITIES

    def for_labels(self, count: int) -> tuple[str, ...]:
        """Every pattern that fits ``count`` labels."""
        return self.any + (self.alone if count == 1 else self.several)

    def without(self, mentions: Callable[[str], bool]) -> "Fragments":
        """Only the fragments that ``mentions`` is false for; a list that would be empty stays."""

        def keep(fragments: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(f for f in fragments if not mentions(_SLOT.sub(" ", f))) or fragments

        return replace(
            self,
            any=keep(self.any),
            alone=keep(self.alone),
            several=keep(self.several),
            media=keep(self.media),
            tails=keep(self.tails),
            quantities=tuple(q for q in self.quantities if not any(map(mentions, q)))
            or self.quantities,
        )


_SLOT = re.compile(r"\{\w+\}")

ALL_FRAGMENTS = Fragments()


def render(
    nouns: Sequence[Noun], *, turn: int, seed: int | str, fragments: Fragments = ALL_FRAGMENTS
) -> str:
    """One text that names every noun, the same for the same arguments.

    Successive turns under one seed walk through all patterns before one comes again.

    >>> from taistore.texts.language.grammar import noun
    >>> render([noun("dog"), noun("bus")], turn=0, seed=3)
    'a close-up photo of a dog, and also a bus'
    """
    choices = fragments.for_labels(len(nouns))
    walk = Random(f"{seed}")
    start, step = walk.randrange(len(choices)), _coprime_step(walk, len(choices))
    pattern = choices[(start + turn * step) % len(choices)]
    return _fill(pattern, nouns, Random(f"{seed}:{turn}"), fragments)


def render_short(nouns: Sequence[Noun], *, attempt: int, turn: int = 0) -> str:
    """The ``attempt``-th shorter wording (from 1), ever plainer; turns differ where they can."""
    wordings = patterns.SHORT[min(attempt, len(patterns.SHORT)) - 1]
    ordered = Random(turn).sample(nouns, len(nouns)) if turn else nouns
    all_ = join_phrases([n.one for n in ordered])
    return wordings[turn % len(wordings)].format(all=all_, names=_names(ordered))


def _coprime_step(random: Random, count: int) -> int:
    for _ in range(64):
        step = random.randrange(1, count + 1)
        if gcd(step, count) == 1:
            return step
    return 1


def _fill(pattern: str, nouns: Sequence[Noun], random: Random, fragments: Fragments) -> str:
    ordered = random.sample(nouns, len(nouns))
    phrases = [_phrase(n, random, fragments.quantities) for n in ordered]
    all_, rest = _list(phrases, random), _list(phrases[1:], random)
    tail = f" {random.choice(fragments.tails)}" if random.random() < TAIL_RATE else ""
    text = pattern.format(
        all=all_.text,
        first=phrases[0].text,
        rest=rest.text,
        is_all="are" if all_.plural else "is",
        is_first="are" if phrases[0].plural else "is",
        is_rest="are" if rest.plural else "is",
        names=_names(ordered),
        some=ordered[0].some,
        medium=random.choice(fragments.media),
        tail=tail,
    )
    if random.random() < SENTENCE_RATE:
        text = f"{text[:1].upper()}{text[1:]}."
    return text


def _phrase(noun: Noun, random: Random, quantities: Sequence[tuple[str, str]]) -> Phrase:
    chance = random.random()
    if chance < ONE_RATE:
        return Phrase(noun.one, noun.one_is_plural)
    if chance < ONE_RATE + SOME_RATE:
        return Phrase(noun.some, noun.some_is_plural)
    many, much = random.choice(quantities)
    return Phrase(noun.counted(many, much), noun.some_is_plural)


def _list(phrases: Sequence[Phrase], random: Random) -> Phrase:
    if not phrases:
        return Phrase("", False)
    # "there is a dog and two cats" agrees with the nearest word only in speech.
    plural = len(phrases) > 1 or phrases[0].plural
    return Phrase(join_phrases([p.text for p in phrases], comma=random.random() < 0.3), plural)


def join_phrases(texts: Sequence[str], *, comma: bool = False) -> str:
    """ "a dog", "a dog and a bus", "a dog, a bus and stairs"; ``comma``: one before "and"."""
    if len(texts) < 2:
        return "".join(texts)
    last = ", and " if comma and len(texts) > 2 else " and "
    return ", ".join(texts[:-1]) + last + texts[-1]


def _names(nouns: Sequence[Noun]) -> str:
    return ", ".join(n.singular for n in nouns)


class TemplateWriter:
    """Writes the texts of one label set; names no label that a combination lacks."""

    name = "template"
    model = f"v{TEMPLATES_VERSION}"
    instructions = ("",)
    settings = (name,)
    lanes = 0

    def __init__(self, labels: LabelSet) -> None:
        found = NounFilter(labels)
        self._nouns = clear_nouns(labels, found)
        self.fragments = ALL_FRAGMENTS.without(found.mentions)

    def judge(self, rules: JudgeRules) -> Judge:
        """Nothing to audit: a pattern says what it was told."""
        return PlainJudge(rules)

    def write(self, requests: Sequence[TextRequest]) -> list[WrittenText]:
        """One text per request; see :class:`taistore.texts.writer.TextWriter`."""
        return [WrittenText(request=r, text=self._write(r)) for r in requests]

    def _write(self, request: TextRequest) -> str:
        nouns = [self._nouns[i] for i in request.label_ids]
        if request.retry == "shorter":
            return render_short(nouns, attempt=request.attempt, turn=request.turn)
        seed = f"{request.seed}:{request.combination_id}:{request.attempt}"
        return render(nouns, turn=request.turn, seed=seed, fragments=self.fragments)


def clear_nouns(labels: LabelSet, found: NounFilter) -> list[Noun]:
    """Every label as a noun, in ``label_id`` order, in no form that names another label."""
    return [
        n.as_named(name) if _meets_another(n, name, i, found) else n
        for i, (name, n) in enumerate(label_nouns(labels))
    ]


def _meets_another(n: Noun, name: str, label_id: int, found: NounFilter) -> bool:
    """Whether the form that ``name`` is not in (its plural or singular) names another label."""
    other = n.plural if name == n.singular else n.singular
    return other != name and any(i != label_id for i in found.find(other).label_ids)
