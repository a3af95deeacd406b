"""Labels that a caption names: whole words, plurals, synonyms, the longest name first."""

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from taistore.labels import Label, LabelSet
from taistore.texts.language.grammar import (
    asked_names,
    everyday_names,
    idioms,
    other_number,
    verb_forms,
)

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_MARKS = re.compile(r"[\u0300-\u036f]")
_POSSESSIVE = ("'s", "’s")
_LIKENESS = re.compile(
    r"(?<!\w)\w{1,40}-(?:like|shaped|themed|style|styled|sized|flavou?red)\b", re.I
)
_PARENTHESIS = re.compile(r"\s*\([^()]*\)\s*$")

# Which label a form belongs to where several could claim it: the surest claim wins. The last two
# are loose: they count for labels that are asked for.
_NAME, _SYNONYM, _INFLECTED, _EVERYDAY, _ASKED = range(5)
_NOBODY: frozenset[int] = frozenset()


class Mentions(NamedTuple):
    """What a caption names: label ids, ascending, and names that several labels share."""

    label_ids: tuple[int, ...]
    ambiguous: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    """A step of the token tree; where a name ends here, who claims it and how surely."""

    after: "dict[str, _Node]" = field(default_factory=dict)
    label_ids: tuple[int, ...] = ()
    claim: int = _ASKED + 1
    claims: dict[int, int] = field(default_factory=dict)
    idiom: bool = False

    def owners(self, asked: Collection[int], loosest: int) -> tuple[int, ...]:
        """Whom the name that ends here is counted for."""
        wanted = [i for i in self.claims if i in asked] if asked else []
        if wanted:
            surest = min(self.claims[i] for i in wanted)
            return tuple(i for i in wanted if self.claims[i] == surest)
        return self.label_ids if self.claim <= loosest else ()


def tokens(text: str) -> list[str]:
    """The words of a text: folded case, width and accents, hyphens apart, without possessive 's.

    >>> tokens("The dog’s T-shirt, a purée")
    ['the', 'dog', 't', 'shirt', 'a', 'puree']
    """
    if not text.isascii():
        text = _MARKS.sub("", unicodedata.normalize("NFKD", text))
        text = unicodedata.normalize("NFKC", text)
    words = _TOKEN.findall(text.casefold())
    return [w[:-2] if w.endswith(_POSSESSIVE) else w for w in words]


class NounFilter:
    """Finds the labels of a set in captions; one pass over the words of each, whatever the set.

    A name matches whole words, in singular or plural; of several names that start at a word the
    longest wins, so that "hot dog" is not a dog, and neither is a "remote island" a remote. A name
    beats a synonym and both beat a plural made by rule; a form that two labels claim equally is
    reported as ambiguous, never guessed.
    """

    def __init__(self, labels: LabelSet) -> None:
        self._root = _Node()
        for label_id, label in enumerate(labels):
            for form, claim in _forms(label):
                self._claim(form, claim, label_id)
        for idiom in idioms():
            self._node(tokens(idiom)).idiom = True

    def _claim(self, form: str, claim: int, label_id: int) -> None:
        words = tokens(form)
        if not words:
            return
        node = self._node(words)
        node.claims[label_id] = min(claim, node.claims.get(label_id, claim))
        if claim < node.claim:
            node.claim, node.label_ids = claim, (label_id,)
        elif claim == node.claim and label_id not in node.label_ids:
            node.label_ids += (label_id,)

    def _node(self, words: list[str]) -> _Node:
        node = self._root
        for word in words:
            node = node.after.setdefault(word, _Node())
        return node

    def find(
        self, text: str, *, asked: Collection[int] = _NOBODY, everyday: bool = False
    ) -> Mentions:
        """The labels that ``text`` names.

        A form that several labels claim counts for those of ``asked`` alone, whose verbs
        ("smiling" for smile) and everyday names ("man" for person) count too; with ``everyday``
        those names count for every label, but for those that may mean other things ("mother").
        """
        found: set[int] = set()
        ambiguous: list[str] = []
        loosest = _EVERYDAY if everyday else _INFLECTED
        for words, label_ids in self._matches(_words(text), asked, loosest):
            # Keys that share a name and were both asked for are both meant.
            if len(label_ids) == 1 or all(i in asked for i in label_ids):
                found.update(label_ids)
            else:
                ambiguous.append(" ".join(words))
        return Mentions(tuple(sorted(found)), tuple(dict.fromkeys(ambiguous)))

    def mentions(self, text: str) -> bool:
        """Whether ``text`` names any label, ambiguous names included."""
        return next(self._matches(_words(text)), None) is not None

    def _matches(
        self, words: list[str], asked: Collection[int] = _NOBODY, loosest: int = _INFLECTED
    ) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        start, count = 0, len(words)
        first = self._root.after
        while start < count:
            node = first.get(words[start])
            end, here = start, start + 1
            label_ids: tuple[int, ...] = ()
            while node is not None:
                if node.claims and (owners := node.owners(asked, loosest)):
                    end, label_ids = here, owners
                elif node.idiom:
                    end, label_ids = here, ()
                node = node.after.get(words[here]) if here < count else None
                here += 1
            if label_ids:
                yield words[start:end], label_ids
            start = max(end, start + 1)


def _words(text: str) -> list[str]:
    """The words that may name things: what is only like a thing ("kite-shaped") is none."""
    return tokens(_LIKENESS.sub(" ", text))


def _forms(label: Label) -> Iterator[tuple[str, int]]:
    yield label.name, _NAME
    base = _PARENTHESIS.sub("", label.name)
    synonyms = label.synonyms if base == label.name else (base, *label.synonyms)
    for synonym in synonyms:
        yield synonym, _SYNONYM
    for form in (label.name, *synonyms):
        for other in other_number(form):
            yield other, _INFLECTED
    for names, claim in ((everyday_names(base), _EVERYDAY), (asked_names(base), _ASKED)):
        for name in names:
            yield name, claim
            for other in other_number(name):
                yield other, claim
    for form in (base, *label.synonyms):
        for verb in verb_forms(form):
            yield verb, _ASKED
