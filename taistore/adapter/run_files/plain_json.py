"""Dataclasses from the JSON of a file on disk, checked strictly: nothing else is let in."""

import json
import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""What ``__pydantic_config__`` of such a dataclass is; dataclasses inside it follow it too."""

MAX_BYTES = 64 * 2**20
"""A larger file is not read: the card of 100,000 labels has 10 MB."""

MAX_DEPTH = 64
"""Brackets within brackets; reading deeper ones costs memory out of all proportion."""

_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')

T = TypeVar("T")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises OSError, or ValueError where it holds anything else."""
    values = json.loads(read_plain(path))
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    return values


def read_plain(path: Path) -> str:
    """The text of a small file; raises OSError, or ValueError where it is none or too nested."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES:,} bytes")
    text = data.decode()
    depth = 0
    for found in _STRING_OR_BRACKET.finditer(text):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} deep")
    return text


def from_plain(kind: type[T], values: object) -> T:
    """An instance of ``kind`` from plain values, as ``json`` reads them.

    Raises ValueError in one line that names the first field that is missing, unknown, of another
    type or not finite.
    """
    try:
        # As JSON, where a list is a tuple, and nothing else is converted.
        found: T = TypeAdapter(kind).validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"][0].lower() + first["msg"][1:]
        raise ValueError(f"{place}: {message}" if place else message) from None
    return found
