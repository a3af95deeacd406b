"""What a language model is told: the prompts of a conversation as data, packaged or from a file."""

import hashlib
import json
import string
import tomllib
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from taistore.errors import TextError

PROFILES = ("paper", "few-shot")
"""Packaged instructions: the paper's conversation, and examples for small models."""

SLOTS = frozenset({"phrases", "names"})
"""Where labels go: ``{phrases}`` "a dog and two skis", ``{names}`` "dog, skis"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Instruction:
    """A question with a slot for labels; conversations take turns with those of a profile."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A made-up exchange in front of the conversation: these labels, this caption."""

    labels: tuple[str, ...]
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Instructions:
    """All prompts of a conversation.

    ``different`` asks for a further caption of the same labels and ``shorter`` for less of what
    was too long; where one is empty, the question itself is put again in a fresh conversation.
    ``remembered`` bounds how many earlier captions stay in a conversation.
    """

    name: str
    instruction: tuple[Instruction, ...]
    different: str = ""
    shorter: str = ""
    system: str = ""
    example: tuple[Example, ...] = ()
    remembered: int = 8

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any word of any prompt."""
        content = json.dumps(asdict(self), sort_keys=True)
        return hashlib.blake2b(content.encode(), digest_size=8).hexdigest()

    def ask(self, instruction: str, *, phrases: str, names: str) -> str:
        """The question of that name with labels in its slots."""
        text = {i.name: i.text for i in self.instruction}[instruction]
        return text.format(phrases=phrases, names=names)


def load_instructions(source: str) -> Instructions:
    """A packaged profile by name, else a TOML or JSON file of the same form.

    Raises :class:`TextError` naming file and field where something is missing or wrong.
    """
    if source in PROFILES:
        package = resources.files("taistore.texts.llm").joinpath("profiles", f"{source}.toml")
        return _checked(tomllib.loads(package.read_text(encoding="utf-8")), source)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise TextError(
            f"{source}: no such instructions: name a file, or one of {', '.join(PROFILES)}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"{source}: cannot be read as UTF-8 text: {error}") from None
    try:
        raw = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML"
        raise TextError(f"{source}: not {kind}: {str(error).splitlines()[0]}") from None
    return _checked(raw, source)


class _Fields:
    """A table of the file whose fields are taken out one by one; what is left is unknown."""

    def __init__(self, raw: Any, place: str) -> None:
        if not isinstance(raw, dict):
            raise TextError(f"{place}: not a table of fields")
        self._left, self._place = dict(raw), place

    def text(self, name: str, *, default: str | None = None) -> str:
        value = self._left.pop(name, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.wrong(name, "give a text that is not empty")
        return value.strip()

    def whole(self, name: str, *, default: int) -> int:
        value = self._left.pop(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(name, "give a whole number from 0")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._left.pop(name, None)
        if not isinstance(value, list) or not value or not all(_filled(v) for v in value):
            raise self.wrong(name, "give a list of texts that are not empty")
        return tuple(value)

    def tables(self, name: str) -> "list[_Fields]":
        value = self._left.pop(name, [])
        if not isinstance(value, list):
            raise self.wrong(name, f"write [[{name}]] above each of them")
        return [_Fields(row, f"{self._place}: {name} {i}") for i, row in enumerate(value, 1)]

    def end(self) -> None:
        for name in self._left:
            raise self.wrong(name, "there is no such field")

    def wrong(self, name: str, remedy: str) -> TextError:
        return TextError(f"{self._place}: field '{name}': {remedy}")


def _filled(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _checked(raw: Any, source: str) -> Instructions:
    fields = _Fields(raw, source)
    instructions = Instructions(
        name=fields.text("name"),
        instruction=tuple(_instruction(f) for f in fields.tables("instruction")),
        different=fields.text("different", default=""),
        shorter=fields.text("shorter", default=""),
        system=fields.text("system", default=""),
        example=tuple(_example(f) for f in fields.tables("example")),
        remembered=fields.whole("remembered", default=8),
    )
    fields.end()
    if not instructions.instruction:
        raise fields.wrong("instruction", "write at least one [[instruction]] with name and text")
    names = [instruction.name for instruction in instructions.instruction]
    if len(set(names)) < len(names):
        raise fields.wrong("instruction", f"the names {', '.join(names)} must differ")
    return instructions


def _instruction(fields: _Fields) -> Instruction:
    name, text = fields.text("name"), fields.text("text")
    fields.end()
    try:
        slots = {slot for _, slot, _, _ in string.Formatter().parse(text) if slot is not None}
        text.format(phrases="", names="")
    except (ValueError, KeyError, IndexError, AttributeError):
        slots = set()
    if not slots or not slots <= SLOTS:
        raise fields.wrong("text", "write {names} or {phrases} where the labels go, {{ for a brace")
    return Instruction(name=name, text=text)


def _example(fields: _Fields) -> Example:
    example = Example(labels=fields.texts("labels"), caption=fields.text("caption"))
    fields.end()
    return example
