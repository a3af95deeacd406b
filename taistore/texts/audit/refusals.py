"""Why an answer is no caption: refusals, gaps, echoes, loops, definitions, other languages."""

import itertools
import re
from collections import Counter

from taistore.texts.language.noun_filter import tokens

EMPTY = "empty"
REFUSAL = "refusal"
FOREIGN = "foreign"
TRUNCATED = "truncated"
ECHO = "echo"
PLACEHOLDER = "placeholder"
REPETITION = "repetition"
TALK = "talk"
GENERAL = "general"

_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|text[- ]based (?:ai|model)"
    r"|(?:virtual|digital|helpful) (?:ai|assistant|model))\b"
    r"|\bi(?:['\u2019]m| am) (?:(?:so|very|really|truly|deeply) )?(?:sorry|afraid|unable"
    r"|not able|not (?:sure|capable|comfortable|programmed|designed)|(?:just |only )?an? "
    r"(?:ai|language|large language|assistant|virtual|digital|text))\b"
    r"|\bi (?:can(?:['\u2019]?t|not| not)|could(?:n['\u2019]?t| not)|won['\u2019]?t|will not"
    r"|do(?:n['\u2019]?t| not) (?:have|feel|understand|know)|must decline|have to decline"
    r"|apologi[sz]e|would need|need more|(?:don['\u2019]?t|do not) see|see no)\b"
    r"|^(?:sorry|apologies|my apologies|unfortunately)\b|\bmy apologies\b"
    r"|\b(?:i am|i['\u2019]?m|is|be|was) (?:unable|not able|not possible) to (?:see|view|help"
    r"|assist|generate|create|provide|comply|fulfil|write|describe|process)\b"
    r"|\b(?:no|without an?|an?|the) (?:image|picture|photo) (?:was|has been|is|were) (?:not )?"
    r"(?:provided|attached|uploaded|given)\b"
    r"|\bno (?:image|picture|photo) (?:provided|attached|given)\b"
    r"|\bviolates?\b.{0,40}\b(?:policy|policies|guidelines)\b",
    re.I,
)
_PLACEHOLDER = re.compile(
    r"\[[^\]]{0,80}\]|\{[^}]{0,80}\}|<[A-Za-z_][^<>]{0,60}>|_{3,}|\bX{3,}\b|\.{3,9}\s?\(|%s|\$\{"
    r"|\(?\binsert (?:a |the |your )?(?:label|name|object|word|caption|noun|image)s?\b"
    r"|\blabel ?(?:\d|x\b)|\bobject ?(?:\d|x\b)|\b(?:noun|category|class)\s?\d\b"
    r"|\byour (?:caption|text|sentence|name) here\b|\blorem ipsum\b|\bimage_?\d+\b",
    re.I,
)
_INSTRUCTION = re.compile(
    r"^(?:please |now,? |then,? )?(?:write|generate|compose|create|craft|make|produce|provide|give"
    r"|come up with|describe|rewrite|shorten|include|mention|think of|design"
    r"|formulate|construct)\b[^.]{0,80}\b(?:captions?|sentences?|descriptions?|images?"
    r"|pictures?|photos?|photographs?|words?|labels?|nouns?|scenes?)\b"
    r"|^(?:instruction|labels?|objects?|input|task|question|keywords?|categories|words)\b[^:]{0,20}:"
    r"|\b(?:must|should) (?:mention|contain|include) (?:all|every|each|only|the)\b"
    r"|\b(?:in|with|under|of) (?:at most |fewer than |less than |no more than |about )\d+ words\b"
    r"|\bthe following (?:labels?|words?|nouns?|categories)\b",
    re.I,
)
_KIND = re.compile(
    # What kind of thing it is: "a fork is a cut of meat", "a bird is a bird".
    r"(?:^|[,;] |\b(?:and|but|while|so|because) )(?:an?|any) (?:[\w'-]+ ){1,6}?(?:is|are)"
    r" (?:an?|any) (?!(?:few|little|lot|bit|couple|pair|third|half|quarter|blur|streak|mess"
    r"|sight)\b)"
    r"|\ban? ([\w'-]+) (?:is|are) an? (?:[\w-]+ )?\1\b"
    r"|\bare (?:types|kinds|forms|sorts|species|breeds) of\b"
    r"|\b(?:is|are) (?:an?|the|any|one)(?: [\w-]+){0,4} (?:types?|kinds?|forms?|sorts?|species"
    r"|breeds?|tools?|devices?|terms?|instruments?|utensils?|equipment) (?:of|used|that|for|which"
    r"|to)\b|\bare two (?:[\w-]+ )?(?:different|disparate|distinct|separate)(?: [\w-]+)?"
    r" (?:things|items|objects|concepts|creatures|animals|technologies|ideas|words)\b"
    # What it is for, or how it is as a rule.
    r"|^(?:an?|any) (?:[\w'-]+ ){1,3}(?:is|are) used (?:to|for|as) [\w'-]+(?: [\w'-]+)?[.!]?$"
    r"|\bit is used (?:to|for|as)\b",
    re.I,
)
_INVERTED = re.compile(
    r"^(?:in|on|at|to|from|with|inside|outside|between|among|next|close|near|beside|behind|beneath"
    r"|below|under|above|over|atop|against|along|around|across|opposite|amid|there|here|this|that"
    r"|what|\w+ing|\w+ed)\b",
    re.I,
)
"""How sentences begin that may end in "is a dog" and still show one."""

_MEANING = re.compile(
    # What things are as a rule.
    r"\b(?:is|are|be) (?:also |\w+ly )?(?:known (?:for|as|to be)|considered|designed (?:to|for)"
    r"|associated with|referred to|labell?ed as)\b"
    r"|\b(?:is|are|be|was|were|it's|that's) (?:often|typically|usually|commonly|generally"
    r"|traditionally|mainly|primarily)\b|\b(?:often|typically|usually|commonly|mainly|primarily)"
    r" (?:used|found|seen|made|adorned|decorated|associated|served|worn|eaten|known)\b"
    r"|\b(?:often|typically|usually|commonly),? an? "
    # What they stand for.
    r"|(?:\b(?:is|are|as)|[,:;\u2013\u2014-]) (?:an?|the|two) (?:[\w-]+ ){0,4}?(?:illustrations?"
    r"|examples?|symbols?|representations?|reminders?|metaphors?|blends?|fusions?|celebrations?)"
    r" (?:of|that|for|how)\b|\b(?:perfect|great|classic|common) (?:illustrations?|examples?) of\b"
    r"|(?<!that )(?<!which )\bsymboli[sz]|\bembod(?:y|ies|ying)\b|\btestament (?:of|to)\b"
    r"|\bmetaphor|\bthe (?:essence|concept|idea|notion) (?:of|that)\b|\bmasterpiece of\b"
    r"|\bthroughout history\b|\bin the (?:context|realm) of\b"
    r"|\b(?:of|and) (?:life|nature|humanity) itself\b",
    re.I,
)
_TAIL = re.compile(r"\s*(?:[,;]|\s[-\u2013]|\u2014)\s")
_HEAD_WORDS = 3


def _listed(text: str) -> frozenset[str]:
    return frozenset(text.split())


_JOINS = _listed("and or with the a an of")
_ENGLISH = _listed(
    """a an the of on in with and is are at to by for from his her its their this that while near
    under over behind next who which as it there two three one some sits sitting standing stands
    through into up down out off front side top young old man woman people"""
)
_ELSEWHERE = _listed(
    """der das und ein eine einen einem einer mit auf von ist sind im den dem zwei neben vor
    le les un une des du et dans sur avec deux qui est sont au aux pres
    el los las una con en y de del por unos unas dos sobre esta este se
    il lo gli uno di che nella nel sulla sul due sono della
    o os um uma com em na no dois duas ao da do
    het een van op met twee naast ett och pa med som av tva en er til jest na w z oraz i ve bir"""
)
_LOOP_WORDS = 8


def refusal(text: str) -> bool:
    """Whether the answer declines, or speaks of the model itself."""
    return _REFUSAL.search(text) is not None


def placeholder(text: str) -> str:
    """The first gap that was left to be filled, such as "[label]", or ""."""
    match = _PLACEHOLDER.search(text)
    return match[0] if match else ""


def echoes(text: str, names: list[str], instruction: str = "") -> bool:
    """Whether the text gives the request back: an instruction, or the bare list of ``names``."""
    if _INSTRUCTION.search(text):
        return True
    words = tokens(text)
    listed = {word for name in names for word in tokens(name)} | _JOINS
    bare = not _JOINS.isdisjoint(words) and not any(c in text for c in ",;/|")
    if words and not bare and set(words) <= listed:
        return True
    asked = tokens(instruction)
    if len(words) < 5 or len(asked) < len(words):
        return False
    runs = {tuple(asked[i : i + 5]) for i in range(len(asked) - 4)}
    told = [tuple(words[i : i + 5]) in runs for i in range(len(words) - 4)]
    return sum(told) > len(told) / 2


def general(sentence: str) -> bool:
    """Whether a sentence tells what things are or mean as a rule, instead of what a photo shows.

    >>> general("A fork is a tool used to eat."), general("A fork is on a plate.")
    (True, False)
    """
    kind = not _INVERTED.match(sentence) and _KIND.search(sentence) is not None
    return kind or _MEANING.search(sentence) is not None


def particular(sentence: str) -> str:
    """What a sentence shows, without what it adds about its meaning; "" where nothing is left.

    >>> particular("A dog lies on a rug, capturing the essence of a slow Sunday.")
    'A dog lies on a rug.'
    """
    if not general(sentence):
        return sentence
    for tail in reversed(list(_TAIL.finditer(sentence))):
        head = sentence[: tail.start()]
        if not general(head) and len(tokens(head)) >= _HEAD_WORDS:
            return f"{head}."
    return ""


def loops(text: str) -> bool:
    """Whether the text repeats itself as a model does that found no end.

    >>> loops("a dog and a dog and a dog and a dog"), loops("a black dog and a white dog")
    (True, False)
    """
    words = tokens(text)
    if len(set(words)) == len(words):
        return False
    for size in range(1, _LOOP_WORDS + 1):
        run = longest = 0
        for i in range(size, len(words)):
            run = run + 1 if words[i] == words[i - size] else 0
            longest = max(longest, run)
        if longest >= (3 if size == 1 else 2 * size):
            return True
    parts = [" ".join(tokens(part)) for part in re.split(r"[.!?;,]", text)]
    said = Counter(part for part in parts if part.count(" ") >= 2)
    if said and max(said.values()) >= 3:
        return True
    pairs = list(itertools.pairwise(words))
    return len(pairs) >= 16 and len(set(pairs)) < 0.5 * len(pairs)


def foreign(text: str, names: list[str]) -> bool:
    """Whether the text is not English: other letters than Latin, or another language's words.

    Letters and words of ``names`` do not count: a label may be a foreign word.
    """
    named = {word for name in names for word in tokens(name)}
    words = [word for word in tokens(text) if word not in named]
    letters = (c for word in words for c in word if c.isalpha())
    if not text.isascii() and not all(
        "a" <= c <= "z" or "\u00c0" <= c <= "\u024f" for c in letters
    ):
        return True
    english = sum(word in _ENGLISH for word in words)
    other = sum(word in _ELSEWHERE and word not in _ENGLISH for word in words)
    if other >= 2 and other > english:
        return True
    accents = sum(not c.isascii() and c.isalpha() for c in text) if not english else 0
    return accents >= 2 and len(words) >= 4
