"""Captions of one combination that say the same in nearly the same words."""

import itertools
from collections.abc import Collection
from functools import lru_cache

from taistore.texts.language.noun_filter import tokens

THRESHOLD = 0.75
"""Jaccard similarity of words and word pairs from which on two captions are one: "A dog on the
red sofa" and "A dog is on a red sofa" are, with a blue sofa they are not."""

_SMALL = frozenset(
    ("a", "an", "the", "is", "are", "was", "were", "be", "being", "there", "this", "that", "it")
)


@lru_cache(maxsize=1 << 14)
def _shingles(text: str) -> frozenset[str]:
    words = [word for word in tokens(text) if word not in _SMALL]
    return frozenset(words + [f"{a} {b}" for a, b in itertools.pairwise(words)])


def similarity(text: str, other: str) -> float:
    """Jaccard similarity of the words and word pairs of two texts, 0 to 1; articles left out.

    >>> similarity("A dog on the sofa.", "The dog is on a sofa"), similarity("a dog", "a cat")
    (1.0, 0.0)
    """
    ours, theirs = _shingles(text), _shingles(other)
    if not ours and not theirs:
        return 1.0
    return len(ours & theirs) / len(ours | theirs)


def near_duplicate(text: str, known: Collection[str], *, threshold: float = THRESHOLD) -> str:
    """The first of ``known`` that ``text`` repeats in nearly the same words, or ""."""
    ours = _shingles(text)
    for other in known:
        theirs = _shingles(other)
        # The sizes bound the similarity: most captions need no comparison of their words.
        least = threshold * max(len(ours), len(theirs))
        if min(len(ours), len(theirs)) < least:
            continue
        if similarity(text, other) >= threshold:
            return other
    return ""
