"""Label names as English noun phrases: article, number, plural; what prompts are built from."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

import typeguard

from taistore.labels import LabelSet

if TYPE_CHECKING:
    import inflect

NounKind = Literal["count", "single", "mass", "pair", "plural", "proper"]

_MASS_ENDING = re.compile(
    r".{3,}(?:ism|ography|ology|ness|ics|wear|ware|aceae|idae|inae|iformes|ensis|oides|folia|ii)$"
    # Orders of plants ("poales"), but not "females" or "timescales".
    r"|.{3,}(?<!m)(?<!wh)(?<!sc)(?<!s)(?<!t)(?<!g)ales$"
)
_SINGULAR_ENDING = re.compile(r"(?:ss|us|is|ics)$")
_FOREIGN = frozenset(
    {"a", "al", "alla", "con", "de", "del", "della", "des", "di", "du", "la", "le"}
)
_LINK = re.compile(r" (?:of|in|on|at|with|for|from|to|the) ")
_PARENTHESIS = re.compile(r"^(.*\S)(\s*\([^()]*\))$")
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+(?:['’.\-][A-Za-z\u00c0-\u024f]+)*")
"""What inflect is asked about: it takes other signs ("|") for its own notation."""

_LATIN = re.compile(r"[0-9A-Za-z\u00c0-\u024f]")

_ACRONYMS_AN = frozenset({"faq", "hiv", "lcd", "led", "mri", "rv", "suv", "xml"})
_VOWEL_SOUND_EIGHT = re.compile(r"8|(?:11|18)(?:\D|\d{2}(?:\D|$)|$)")


@dataclass(frozen=True, slots=True)
class Noun:
    """A label's name in the forms that a sentence needs.

    ``count`` nouns take an article and a plural, ``mass`` and ``proper`` nouns neither; a ``pair``
    is counted in pairs; a ``plural`` has no singular and a ``single`` no plural that may be used.
    """

    singular: str
    plural: str
    kind: NounKind = "count"

    @property
    def one(self) -> str:
        """A single one: "a dog", "an hour", "broccoli", "a pair of scissors", "stairs"."""
        if self.kind in ("count", "single"):
            return with_article(self.singular)
        return f"a pair of {self.plural}" if self.kind == "pair" else self.plural

    @property
    def one_is_plural(self) -> bool:
        """Whether :attr:`one` takes "are"."""
        return self.kind == "plural"

    @property
    def some(self) -> str:
        """Several or any amount, without a number: "dogs", "broccoli", "scissors"."""
        return self.one if self.kind == "single" else self.plural

    @property
    def some_is_plural(self) -> bool:
        """Whether :attr:`some` takes "are"."""
        return self.kind in ("count", "pair", "plural")

    def counted(self, many: str, much: str) -> str:
        """With a quantity: ``many`` for what can be counted ("two"), ``much`` else ("a lot of")."""
        if self.kind in ("proper", "single"):
            return self.some
        if self.kind == "mass":
            return f"{much} {self.plural}"
        return f"{many} {'pairs of ' if self.kind == 'pair' else ''}{self.plural}"

    def as_named(self, name: str) -> "Noun":
        """Only the number that ``name`` has, for sets in which the other is another label."""
        if self.kind != "count":
            return self
        return Noun(name, name, "single" if name == self.singular else "plural")


@dataclass(frozen=True, slots=True)
class _Words:
    mass: frozenset[str]
    pairs: frozenset[str]
    single_of_pair: frozenset[str]
    plurals: frozenset[str]
    irregular_plurals: frozenset[str]
    singular: frozenset[str]
    count_ing: frozenset[str]
    proper: frozenset[str]
    capital: frozenset[str]
    phrases_mass: frozenset[str]
    phrases_count: frozenset[str]
    plural_of: dict[str, str]
    idioms: frozenset[str]
    everyday: dict[str, tuple[str, ...]]
    asked: dict[str, tuple[str, ...]]
    verbs: frozenset[str]
    past_of: dict[str, tuple[str, ...]]

    @property
    def singular_of(self) -> dict[str, str]:
        return {plural: word for word, plural in self.plural_of.items() if word != plural}


@cache
def _words() -> _Words:
    text = (resources.files("taistore.texts.language") / "words.toml").read_text("utf-8")
    raw = tomllib.loads(text)
    plural_of = raw.pop("plural_of")
    everyday = {name: _listed(names) for name, names in raw.pop("everyday").items()}
    asked = {name: _listed(names) for name, names in raw.pop("asked").items()}
    past_of = {verb: _listed(forms) for verb, forms in raw.pop("past_of").items()}
    verbs = frozenset(raw.pop("verbs")["regular"].split())
    sets = {k: frozenset(v.split() if isinstance(v, str) else v) for k, v in raw.items()}
    return _Words(
        plural_of=plural_of, everyday=everyday, asked=asked, verbs=verbs, past_of=past_of, **sets
    )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split("|") if "|" in text else text.split())


@cache
def _engine() -> "inflect.engine":
    # inflect has typeguard rewrite its methods when it is imported: two of the three seconds of
    # processor time that a command takes to begin. Its engine is asked for words alone.
    checked = typeguard.typechecked
    typeguard.typechecked = _as_it_is  # type: ignore[assignment]
    try:
        import inflect
    finally:
        typeguard.typechecked = checked
    return inflect.engine()


def _as_it_is(target: Any) -> Any:
    return target


@cache
def with_article(phrase: str) -> str:
    """``phrase`` behind "a" or "an", by sound.

    >>> [with_article(p) for p in ("hour", "unicorn", "SUV", "NASA rocket", "8 ball", "X-ray")]
    ['an hour', 'a unicorn', 'an SUV', 'a NASA rocket', 'an 8 ball', 'an X-ray']
    """
    first = re.split(r"[\s\-]", phrase, maxsplit=1)[0]
    if first[:1].isdigit():
        return f"{'an' if _VOWEL_SOUND_EIGHT.match(first) else 'a'} {phrase}"
    if _spelled_out(first):
        return f"{'an' if first[0].upper() in 'AEFHILMNORSX' else 'a'} {phrase}"
    return str(_engine().a(phrase)) if _WORD.match(first) else f"a {phrase}"


def _spelled_out(word: str) -> bool:
    """Whether a word is read letter by letter: "SUV", "f355", "tv", but not "NASA" or "mp"."""
    letters = re.sub(r"\W|\d", "", word)
    if word.lower() in _ACRONYMS_AN or len(letters) == 1:
        return len(letters) > 0 and (len(word) > 1 or word.isupper())
    if any(c.isdigit() for c in word) and len(letters) <= 2:
        return True
    if not re.search(r"[aeiouy]", word.lower()):
        return letters == word and len(word) >= 2
    # Capitals with a vowel first ("UFO", "ATM") are spelled as a rule, others ("NASA") are words.
    return letters == word and word.isupper() and 2 <= len(word) <= 3 and word[0] in "AEIOU"


@cache
def noun(name: str) -> Noun:
    """The forms of a label's name, as :meth:`taistore.labels.LabelSet.prompt_name` gives it.

    A parenthesis at the end stays behind the inflected words. The name's case is kept.

    >>> noun("dining table").plural, noun("broccoli").one, noun("birds").one
    ('dining tables', 'broccoli', 'a bird')
    >>> noun("organ (pipe organ)").plural
    'organs (pipe organ)'
    """
    name = " ".join(name.split())
    parenthesis = _PARENTHESIS.match(name)
    if parenthesis:
        base = noun(parenthesis[1])
        tail = parenthesis[2]
        return Noun(base.singular + tail, base.plural + tail, base.kind)
    kind = _kind(name)
    if kind == "count":
        return _count_noun(name)
    return Noun(name, name, kind)


def other_number(name: str) -> list[str]:
    """The same name in the other number, for finding it in texts; empty for proper names.

    >>> other_number("clouds"), other_number("tennis racket"), other_number("scissors")
    (['cloud'], ['tennis rackets'], [])
    """
    name = " ".join(name.split())
    words = _words()
    if not name or name.lower() in words.proper:
        return []
    head = _head(name)
    if head in words.plurals and head not in words.singular_of:
        return []
    if head in words.pairs and head not in words.single_of_pair:
        return []
    forms = _count_noun(name)
    return [form for form in (forms.singular, forms.plural) if form != name]


def everyday_names(name: str) -> list[str]:
    """What captions say for a name that is no synonym of it in every set.

    >>> everyday_names("Sofa"), everyday_names("zebra")
    (['couch'], [])
    """
    return _named(name, _words().everyday)


def asked_names(name: str) -> list[str]:
    """What a caption may say for a name that it was asked for, and mean something else otherwise.

    >>> asked_names("dining table")
    ['table']
    """
    return _named(name, _words().asked)


def _named(name: str, table: Mapping[str, tuple[str, ...]]) -> list[str]:
    low = " ".join(name.lower().split())
    return list(table.get(low) or table.get(_singular_of(low) or "", ()))


def idioms() -> frozenset[str]:
    """Phrases that hold the name of a thing without meaning it, such as "remote island"."""
    return _words().idioms


def verb_forms(name: str) -> list[str]:
    """The verb forms of an activity, the name's own left out; empty for other names.

    Stems are guessed, so that some of the forms are no words.

    >>> sorted({"swim", "swims", "swam"} & set(verb_forms("swimming")))
    ['swam', 'swim', 'swims']
    >>> "smiling" in verb_forms("smile"), verb_forms("building"), verb_forms("train")
    (True, [], [])
    """
    words, low = _words(), name.lower().strip()
    if low in words.verbs:
        stems = [low]
    elif low.endswith("ing") and low.isalpha() and len(low) > 5 and low not in words.count_ing:
        stem = low[:-3]
        stems = [stem, stem + "e", *([stem[:-1]] if stem[-1] == stem[-2] else [])]
    else:
        return []
    forms = [form for stem in stems for form in _conjugated(stem)]
    return [form for form in dict.fromkeys(forms) if form != low]


def _conjugated(stem: str) -> list[str]:
    bare = stem[:-1] if stem.endswith("e") else stem
    doubled = bare + bare[-1]
    third = stem + ("es" if stem.endswith(("s", "sh", "ch", "x", "z")) else "s")
    regular = [stem, third, bare + "ed", doubled + "ed", bare + "ing", doubled + "ing"]
    return regular + list(_words().past_of.get(stem, ()))


def _head(name: str) -> str:
    """The word that a name inflects: the last one before "of", "in" and the like."""
    return _LINK.split(name.lower(), maxsplit=1)[0].split()[-1]


def _kind(name: str) -> NounKind:
    words, low = _words(), name.lower()
    if low in words.phrases_count:
        return "count"
    if low in words.phrases_mass or _FOREIGN & set(low.split()[1:-1]) or " and " in low:
        return "mass"
    if low in words.proper or not _LATIN.search(name):
        return "proper"
    head = _head(name)
    if head in words.mass or _MASS_ENDING.match(head):
        return "mass"
    if head.endswith("ing") and len(head) > 4 and head not in words.count_ing:
        return "mass"
    if head in words.pairs:
        return "pair"
    return "plural" if head in words.plurals else "count"


def _count_noun(name: str) -> Noun:
    head = _head(name)
    singular = _singular_of(head)
    start = name.lower().find(head, len(_LINK.split(name)[0]) - len(head))
    end = start + len(head)
    before, after = name[:start], name[end:]
    given = name[start:end]
    if singular is not None:
        return Noun(before + _match_case(given, singular) + after, name)
    return Noun(name, before + _plural_of(given) + after)


@cache
def _singular_of(head: str) -> str | None:
    """The singular of a word that is a plural already, else None."""
    words = _words()
    if head in words.singular_of:
        return words.singular_of[head]
    if head in words.irregular_plurals:
        return str(_engine().singular_noun(head) or head)
    if head in words.singular or len(head) < 4 or not head.endswith(("s", "men")):
        return None
    if _SINGULAR_ENDING.search(head) and head not in ("skis", "taxis"):
        return None
    singular = _engine().singular_noun(head) if _WORD.fullmatch(head) else None
    return str(singular) if singular else None


@cache
def _plural_of(word: str) -> str:
    irregular = _words().plural_of.get(word.lower())
    if irregular:
        return _match_case(word, irregular)
    if word[-1].isdigit() or (word.isupper() and len(word) > 1):
        return word + "s"
    if not _WORD.fullmatch(word):
        return word + "s" if word[-1:].isascii() and word[-1:].isalnum() else word
    # inflect takes a word such as "hercules" for a plural already and adds a bare s.
    return word + "es" if word.endswith("s") else str(_engine().plural_noun(word))


def _match_case(given: str, inflected: str) -> str:
    return inflected[:1].upper() + inflected[1:] if given[:1].isupper() else inflected


def sentence_case(names: list[str]) -> bool:
    """Whether a list writes every name with one large letter in front, as OpenImages does.

    In such a list the large letter says nothing; elsewhere it marks a proper name.
    """
    large = sum(name[:1].isupper() for name in names)
    return len(names) >= 10 and large > 0.8 * len(names)


def decapitalise(name: str) -> str:
    """A name of a sentence-case list as it reads inside a sentence.

    >>> decapitalise("Dining table"), decapitalise("German shepherd"), decapitalise("BMX")
    ('dining table', 'German shepherd', 'BMX')
    """
    first = name.split(" ", 1)[0]
    words = _words()
    stem = first.lower().removesuffix("'s")
    if stem in words.capital or stem in words.proper or first[1:] != first[1:].lower():
        return name
    return name[:1].lower() + name[1:] if len(first) > 1 else name


def label_nouns(labels: LabelSet) -> list[tuple[str, Noun]]:
    """Every label's name as it reads inside a sentence, with its forms, in ``label_id`` order."""
    names = [labels.prompt_name(i) for i in range(len(labels))]
    inside = decapitalise if sentence_case(names) else str
    return [(name, noun(name)) for name in map(inside, names)]
