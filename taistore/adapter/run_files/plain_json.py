"""Dataclasses from the JSON of a file on disk, checked strictly: nothing else is let in."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""What ``__pydantic_config__`` of such a dataclass is; dataclasses inside it follow it too."""

T = TypeVar("T")


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; raises OSError, or ValueError where it holds anything else."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    return values


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
