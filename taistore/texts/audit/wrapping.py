"""Strips what chat models wrap around captions: reasoning, preambles, lists, markdown, quotes."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from taistore.texts.audit.refusals import refusal

_REASONING = r"think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad|plan"
_BLOCK = re.compile(rf"<(?P<tag>{_REASONING})>.*?</(?P=tag)>", re.S | re.I)
_CLOSED_ONLY = re.compile(rf"^.*</(?:{_REASONING})>", re.S | re.I)
_OPEN_ONLY = re.compile(rf"<(?:{_REASONING})>.*$", re.S | re.I)
_CHANNEL = re.compile(r"<\|channel\|>(?:analysis|commentary)<\|message\|>.*?(?:<\|end\|>|$)", re.S)
_SPECIAL = re.compile(
    r"<\|channel\|>final|<\|(?:im_start|start|start_header_id)\|>\s*(?:assistant|user|system)?"
    r"|<\|[\w ]{1,40}\|>|</?s>|\[/?INST\]|<(?:start|end)_of_turn>(?:model|user)?"
    r"|</?(?:answer|caption|output|response|final|b|i|em|strong|p|br)\s*/?>",
    re.I,
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n`]*$", re.M)
_TICKS = re.compile(r"`+([^`\n]*)`+")
_LINK = re.compile(r"!?\[([^\[\]\n]{1,200})\]\([^()\s]{0,400}\)")
_STRONG = re.compile(r"(\*{1,3}|_{2,3})(?=\S)([^*_\n]+?)(?<=\S)\1")
_SLANTED = re.compile(r"(?<!\w)_(?=\S)([^_\n]+?)(?<=\S)_(?!\w)")
_LEAD = re.compile(
    r"^(?:(?:#{1,6}\s+|>\s*|[-+*\u2022\u2023\u25aa\u25cf\u25e6\u2013\u2014\u2192\u00b7]\s+"
    r"|[\u2022\u25cf]|\(?\d{1,3}[.)](?=\s|[A-Z\"'\u201c*])\s*|\(?[a-h]\)\s+))+"
)
_SPACES = re.compile(r"[ \t]+")
_RULE = re.compile(r"^[-=_*~\s]{3,}$")
_HASHTAGS = re.compile(r"(?:^|\s+)(?:#[A-Za-z]\w*[\s,]*)+$|^(?:#[A-Za-z]\w*[\s,]+){2,}")
_HASH = re.compile(r"(?<!\w)#(?=[A-Za-z])")
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\ufe0f\u200d\u20e3"
    "\U000e0020-\U000e007f]+"
)
_NOUN = (
    r"(?:captions?|sentences?|descriptions?|texts?|examples?|versions?|responses?|answers?"
    r"|outputs?|options?|rewrites?|prompts?|alternatives?|variations?|ones?|revisions?|titles?)"
)
_LABEL = re.compile(
    rf"^(?:(?:(?:the|my|your|a|an|one|another|[a-z-]{{3,12}})\s+){{0,4}}?{_NOUN}"
    r"|(?:revised|updated|short(?:er|ened)|new|final|image|photo|assistant|ai|bot|model|user|human))"
    r"\s*(?:\([^()]{0,30}\)|#?\s*\d{1,3}|[ivx]{1,4}|[a-d])?\s*"
    r"(?:is|could be|would be|might be|reads)?\s*"
    r"(?::|=>|->|\u2192|\s[-\u2013\u2014](?=\s))\s*",
    re.I,
)
_PREAMBLE = re.compile(
    rf"^(?:(?:and|so|then|well|now|but|however)?,?\s*(?:here(?:['\u2019]?s| is| are"
    rf"| you (?:go|are))"
    rf"|below (?:is|are)|this is|that is|the following|following"
    rf"|(?:a|one|another) (?:possible|natural|short|simple|good|different|descriptive)"
    rf"|how about|i (?:would|will|can|could|have|['\u2019]?d|came|suggest|wrote|propose)"
    rf"|i['\u2019](?:d|ll|ve)|you (?:can|could|might)|my|based on|let me|to describe|using)"
    rf"\b[^:\n]{{0,160}}?\b{_NOUN}\b[^:\n.!?]{{0,120}}:)\s*",
    re.I,
)
_OPENER = re.compile(
    r"^(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|great(?=[!.])|all ?right|got it"
    r"|no problem|happy to help|understood|yes|definitely|thank you|thanks"
    r"|here (?:you go|you are|it is|goes))(?:[!,:]+|\.+|\s*[-\u2013\u2014])(?=\s|$)\s*",
    re.I,
)
_NOTE = re.compile(
    r"\s*(?:[(\[]\s*(?:\d+\s*(?:words?|tokens?|characters?)|note|word count|caption|length"
    r"|this (?:caption|sentence)|i (?:have|used|tried)|explanation|alternative)\b[^)\]]*[)\]]"
    r"|[(\[]?\bword count:?\s*\d+[)\]]?|[-\u2013\u2014]\s*\d+ words)[.\s]*$",
    re.I,
)
_SENTENCE_END = re.compile(r"[.!?\u2026][\"'\u201d\u2019\u00bb\u203a\u300d*)]*\s+(?=\S)")
_TALK = re.compile(
    r"^[\"'(\[*]*(?:"
    r"(?:p\.?s\.?|note|notes|explanation|reason(?:ing)?|rationale|disclaimer|tip|word count)\s*:"
    r"|please note|note that|let me know|i hope|hope (?:this|that|it)|feel free|if you (?:need|want"
    r"|would|['\u2019]d|have|like)|would you like|do you want|is there anything|please let"
    r"|(?:please )?(?:tell|give|provide|send|share)(?: me)? (?:me|us|more|the|your)\b"
    r"|i['\u2019]?(?:d| would) be (?:happy|glad)|i['\u2019]?(?:m| am) (?:happy|glad|here|ready)"
    r"|i can (?:also |certainly |definitely |gladly )?(?:help|provide|assist|write|generate|create"
    r"|do|try|make|rewrite)|i(?:['\u2019]ll| will| shall) (?:do|try|provide|write|generate|help"
    r"|create|describe|keep|make|give|use|be)|i (?:have )?(?:used|included|incorporated|tried"
    r"|kept|made|mentioned|wrote|chose|removed|shortened)\b"
    r"|(?:the|this|that|these|my) (?:captions?|sentences?|descriptions?|responses?|answers?"
    r"|prompts?|instructions?)\b"
    r"|the words? [\"'\u201c][^\"\u201d]{1,80}[\"'\u201d] (?:can|could|may"
    r"|(?:is|are) used|refers?|means?)\b"
    r"|what (?:do|did|would) you|how (?:can|may|about|does that|is that|was that)|can (?:you|i)\b"
    r"|could you|you (?:asked|requested|want me|may want|provided|gave|mentioned)"
    r"|as (?:requested|you (?:requested|asked|wished))|remember(?:,| that| to)|we (?:need|want"
    r"|should|have to|must)\b|the user\b|first,? (?:i|we|let)|okay,? (?:so|let)|hmm|let['\u2019]?s "
    r"(?:see|think|write|try|create|start)|let me\b|sure\b(?!-)|of course\b|certainly\b|thank you\b"
    r"|thanks for|good luck|happy to (?:help|assist)|enjoy!|have a (?:great|nice|good)"
    r")",
    re.I,
)
_ABOUT_WORDS = re.compile(r"\b(?:sentences?|(?<!closed )captions?|captioned)\b", re.I)
_QUOTES = {
    '"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb",
    "\u201e": "\u201c", "\u201d": "\u201d", "\u2019": "\u2019", "\u300c": "\u300d", "`": "`",
    "\u00b4": "\u00b4", "\u2039": "\u203a", "*": "*",
}  # fmt: skip
_INNER_APOSTROPHE = re.compile(r"(?<=\w)['\u2019](?=\w)|(?<=s)['\u2019](?= )")


MOST_CHARACTERS = 2000
"""What an answer says beyond this, after its reasoning, is not looked at: no caption is near that
long, and wrapping inside wrapping takes a pass each."""

_MOST_ROUNDS = 20


def unwrap(raw: str) -> str:
    """The first real caption in a model's answer, on one line; "" where there is none.

    A caption without wrapping comes back as it is, and unwrapping twice changes nothing.

    >>> unwrap('Sure! Here is a caption:\\n\\n1. **"A dog sits on a sofa."**\\n2. "A cat."')
    'A dog sits on a sofa.'
    """
    return _settled(raw, lambda text: next(_captions(without_reasoning(text)), ""))


def without_reasoning(raw: str) -> str:
    """An answer without what the model thought before it, and without a template's own tokens."""
    text = _CHANNEL.sub("", _BLOCK.sub("\n", raw))
    text = _OPEN_ONLY.sub("", _CLOSED_ONLY.sub("", text))
    return _SPECIAL.sub(" ", text).strip()


def whole_sentences(text: str) -> str:
    """``text`` up to the end of its last whole sentence or line; "" where there is none.

    What a model was writing when it ran out of tokens is cut off.
    """
    text = text.rstrip()
    ends = [match.end() for match in re.finditer(r"[.!?\u2026][\"'\u201d\u2019)*`]*(?=\s|$)", text)]
    return text[: max(ends[-1] if ends else 0, text.rfind("\n") + 1)].rstrip()


def talks(sentence: str) -> bool:
    """Whether a sentence speaks to the user, about the answer, instead of about an image."""
    about_words = _ABOUT_WORDS.search(sentence) is not None
    return about_words or _TALK.match(sentence) is not None or refusal(sentence)


def sentences(line: str) -> list[str]:
    """The sentences of a line."""
    ends = [match.end() for match in _SENTENCE_END.finditer(line)]
    return [line[a:b].strip() for a, b in pairwise([0, *ends, len(line)])]


def _captions(text: str) -> Iterator[str]:
    plain = _SPACES.sub(" ", _FENCE.sub("", text))[:MOST_CHARACTERS]
    entries = [entry[:MOST_CHARACTERS] for entry in _json_captions(text)]
    lines = list(_joined(entries or plain.splitlines()))
    for place, line in enumerate(lines, start=1):
        bare = _settled(line, _spoken_about)
        # "In a sentence, I would say:" announces the lines below it.
        announces = bare.endswith(":") and place < len(lines)
        if any(map(str.isalpha, bare)) and not _RULE.match(bare) and not announces:
            yield bare


def _joined(lines: list[str]) -> Iterator[str]:
    """Lines, those that a model broke in mid-sentence in one piece again."""
    whole = ""
    for line in map(str.strip, lines):
        broken = whole[-1:].isalnum() or whole[-1:] == ","
        if whole and broken and line[:1].islower() and not _LEAD.match(line):
            whole = f"{whole} {line}"
            continue
        if whole:
            yield whole
        whole = line
    if whole:
        yield whole


def _json_captions(text: str) -> list[str]:
    """The strings of an answer that is JSON, such as ``{"caption": "a dog"}``; else nothing."""
    body = _FENCE.sub("", text).strip()
    if body[:1] not in ("{", "["):
        return []
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return []
    values = list(value.values()) if isinstance(value, dict) else value
    flat = [v for entry in values for v in (entry if isinstance(entry, list) else [entry])]
    found = [v for e in flat for v in (e.values() if isinstance(e, dict) else [e])]
    return [entry for entry in found if isinstance(entry, str)]


def _stripped(line: str) -> str:
    """One layer less around a line."""
    line = " ".join(line.split())
    line = _LINK.sub(r"\1", _TICKS.sub(r"\1", line))
    line = _SLANTED.sub(r"\1", _STRONG.sub(r"\2", line))
    line = _EMOJI.sub(" ", line)
    line = _HASH.sub("", _HASHTAGS.sub("", line))
    line = " ".join(line.split())
    line = _LEAD.sub("", line)
    for lead in (_OPENER, _PREAMBLE, _LABEL):
        line = lead.sub("", line)
    line = _NOTE.sub("", line)
    return _without_quotes(line.strip(" *_#|\\").strip())


def _spoken_about(line: str) -> str:
    # What is said about a caption shows only when nothing is around it any more.
    return _without_talk(_settled(line, _stripped))


def _without_talk(line: str) -> str:
    parts = sentences(line)
    # A sentence that is talk in front and a caption behind is unwrapped in the next round.
    talk = [talks(part) and talks(_settled(part, _stripped)) for part in parts]
    if not any(talk):
        return line
    first = talk.index(False) if False in talk else len(parts)
    end = talk.index(True, first) if True in talk[first:] else len(parts)
    return " ".join(parts[first:end])


def _without_quotes(line: str) -> str:
    if len(line) < 2:
        return "" if line in _QUOTES else line
    close = _QUOTES.get(line[0])
    inside = line[1:]
    if close is not None:
        tail = re.sub(r"[.,;:]$", "", inside)
        body = _INNER_APOSTROPHE.sub("", tail[:-1])
        if tail.endswith(close) and not {line[0], close} & set(body):
            return tail[:-1].strip()
        # What follows a quoted caption is about it: '"A dog." (5 words)'.
        if line[0] not in ("'", "\u2019", "*") and inside.count(close) == 0:
            return inside.strip()
    last = line[-1]
    lone = last in _QUOTES.values() and last not in ("'", "\u2019") and line.count(last) == 1
    opened = any(c == last and o in line for o, c in _QUOTES.items() if o != c)
    return line[:-1].strip() if lone and not opened else line


def _settled(text: str, step: Callable[[str], str]) -> str:
    # What one layer hid the next round finds; nothing honest is wrapped as often as this.
    for _ in range(_MOST_ROUNDS):
        if (less := step(text)) == text:
            return text
        text = less
    return ""
