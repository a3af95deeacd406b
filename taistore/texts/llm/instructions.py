"""What a language model is told: the prompts of a conversation as data, packaged or from a file."""

import hashlib
import json
import string
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails

from taistore.errors import TextError

PROFILES = ("paper", "few-shot")
"""Packaged instructions: the paper's conversation, and examples for small models."""

MAX_BYTES = 2**20
"""A larger file of instructions is not read."""

SLOTS = frozenset({"phrases", "names"})
"""Where labels go: ``{phrases}`` "a dog and two skis", ``{names}`` "dog, skis"."""

Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1),
    Field(description="give a text that is not empty"),
]
"""A field's description is what the line about a wrong one tells to do."""

MayBeEmpty = Annotated[
    str, StringConstraints(strip_whitespace=True), Field(description="give a text")
]


class _Table(BaseModel):
    """A table of the file: fixed once read, of exactly these fields and types."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Instruction(_Table):
    """A question with a slot for labels; conversations take turns with those of a profile."""

    name: Text
    text: Text

    @field_validator("text")
    @classmethod
    def _has_slots(cls, text: str) -> str:
        try:
            slots = {slot for _, slot, _, _ in string.Formatter().parse(text) if slot is not None}
            text.format(phrases="", names="")
        except (ValueError, KeyError, IndexError, AttributeError):
            slots = set()
        if not slots or not slots <= SLOTS:
            raise ValueError("write {names} or {phrases} where the labels go, {{ for a brace")
        return text


class Example(_Table):
    """A made-up exchange in front of the conversation: these labels, this caption."""

    labels: Annotated[
        # TOML and JSON have lists only.
        tuple[Text, ...],
        Field(strict=False, min_length=1, description="give a list of texts that are not empty"),
    ]
    caption: Text


class Instructions(_Table):
    """All prompts of a conversation.

    ``different`` asks for a further caption of the same labels and ``shorter`` for less of what
    was too long; where one is empty, the question itself is put again in a fresh conversation.
    ``remembered`` bounds how many earlier captions stay in a conversation.
    """

    name: Text
    instruction: Annotated[
        tuple[Instruction, ...],
        Field(strict=False, min_length=1, description="write [[instruction]] with name and text"),
    ]
    different: MayBeEmpty = ""
    shorter: MayBeEmpty = ""
    system: MayBeEmpty = ""
    example: Annotated[
        tuple[Example, ...],
        Field(strict=False, description="write [[example]] with labels and caption"),
    ] = ()
    remembered: Annotated[int, Field(ge=0, description="give a whole number from 0")] = 8

    @field_validator("instruction")
    @classmethod
    def _names_differ(cls, instructions: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
        names = [instruction.name for instruction in instructions]
        if len(set(names)) < len(names):
            raise ValueError(f"the names {', '.join(names)} must differ")
        return instructions

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with any word of any prompt."""
        content = json.dumps(self.model_dump(), sort_keys=True)
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
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise TextError(f"{source}: more than {MAX_BYTES:,} bytes: give a file of prompts")
        text = data.decode("utf-8-sig")
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


def _checked(raw: object, source: str) -> Instructions:
    try:
        return Instructions.model_validate(raw)
    except ValidationError as error:
        # Where a field is missing, look first for one whose name is written wrong.
        found = error.errors(include_url=False)
        first = next((e for e in found if e["type"] != "missing"), found[0])
        raise TextError(f"{source}: {_line(first)}") from None


def _line(error: ErrorDetails) -> str:
    """Where something is wrong and what to write there: ``example 2: field 'caption': give …``."""
    match error["loc"]:
        case ():
            return "not a table of fields"
        case ("instruction" | "example" as table, int(number)):
            return f"{table} {number + 1}: not a table of fields"
        case ("instruction" | "example" as table, int(number), str(field), *_):
            place = f"{table} {number + 1}: field {field!r}"
            fields = (Instruction if table == "instruction" else Example).model_fields
        case (field, *_):
            place, fields = f"field {field!r}", Instructions.model_fields
    if error["type"] == "extra_forbidden":
        return f"{place}: there is no such field"
    if error["type"] == "value_error":
        return f"{place}: {error['ctx']['error']}"
    return f"{place}: {fields[str(field)].description}"
