"""Labels that a caption names: whole words, plurals, synonyms, the longest name first."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from taistore.labels import Label, LabelSet
from taistore.texts.grammar import other_number

_TOKEN = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_MARKS = re.compile(r"[\u0300-\u036f]")
_POSSESSIVE = ("'s", "’s")
_PARENTHESIS = re.compile(r"\s*\([^()]*\)\s*$")

# Which label a form belongs to where several could claim it: the surest claim wins.
_NAME, _SYNONYM, _INFLECTED = range(3)


class Mentions(NamedTuple):
    """What a caption names: label ids, ascending, and names that several labels share."""

    label_ids: tuple[int, ...]
    ambiguous: tuple[str, ...]


@dataclass(slots=True)
class _Node:
    """A step of the token tree; ``claim`` and ``label_ids`` where a name ends here."""

    after: "dict[str, _Node]" = field(default_factory=dict)
    label_ids: tuple[int, ...] = ()
    claim: int = _INFLECTED + 1


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
    longest wins, so that "hot dog" is not a dog. A name beats a synonym and both beat a plural
    made by rule; a form that two labels claim equally is reported as ambiguous, never guessed.
    """

    def __init__(self, labels: LabelSet) -> None:
        self._root = _Node()
        for label_id, label in enumerate(labels):
            for form, claim in _forms(label):
                self._claim(form, claim, label_id)

    def _claim(self, form: str, claim: int, label_id: int) -> None:
        words = tokens(form)
        if not words:
            return
        node = self._root
        for word in words:
            node = node.after.setdefault(word, _Node())
        if claim < node.claim:
            node.claim, node.label_ids = claim, (label_id,)
        elif claim == node.claim and label_id not in node.label_ids:
            node.label_ids += (label_id,)

    def find(self, text: str) -> Mentions:
        """The labels that ``text`` names."""
        found: set[int] = set()
        ambiguous: list[str] = []
        for words, label_ids in self._matches(tokens(text)):
            if len(label_ids) == 1:
                found.add(label_ids[0])
            else:
                ambiguous.append(" ".join(words))
        return Mentions(tuple(sorted(found)), tuple(dict.fromkeys(ambiguous)))

    def mentions(self, text: str) -> bool:
        """Whether ``text`` names any label, ambiguous names included."""
        return next(self._matches(tokens(text)), None) is not None

    def _matches(self, words: list[str]) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        start, count = 0, len(words)
        first = self._root.after
        while start < count:
            node = first.get(words[start])
            end, here = start, start + 1
            label_ids: tuple[int, ...] = ()
            while node is not None:
                if node.label_ids:
                    end, label_ids = here, node.label_ids
                node = node.after.get(words[here]) if here < count else None
                here += 1
            if label_ids:
                yield words[start:end], label_ids
                start = end
            else:
                start += 1


def _forms(label: Label) -> Iterator[tuple[str, int]]:
    yield label.name, _NAME
    base = _PARENTHESIS.sub("", label.name)
    synonyms = label.synonyms if base == label.name else (base, *label.synonyms)
    for synonym in synonyms:
        yield synonym, _SYNONYM
    for form in (label.name, *synonyms):
        for other in other_number(form):
            yield other, _INFLECTED
