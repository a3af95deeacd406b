"""What a setting may be: each check raises TrainingError with field, value and what is allowed."""

import math
from collections.abc import Callable, Mapping

from taistore.errors import TrainingError


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """It must be one of these."""
    if value not in allowed:
        raise TrainingError(
            f"{name} {value!r:.80} is not allowed: give one of {', '.join(allowed)}"
        )


def text(name: str, value: object) -> None:
    """It must be text."""
    if not isinstance(value, str):
        raise TrainingError(f"{name} {value!r:.80} is not allowed: give text in quotes")


def whole(name: str, value: object, *, low: int) -> None:
    """It must be a whole number, ``low`` at least."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise TrainingError(
            f"{name} {value!r:.80} is not allowed: give a whole number from {low} on"
        )


def number(name: str, value: object, allowed: str, fits: Callable[[float], bool]) -> None:
    """It must be a finite number that ``fits``, which ``allowed`` says in words."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not (numeric and math.isfinite(float(str(value))) and fits(float(str(value)))):
        raise TrainingError(f"{name} {value!r:.80} is not allowed: give a number {allowed}")


def writer_weights_of(given: str | Mapping[str, float]) -> dict[str, float]:
    """``text_weights``, such as ``openai=3,captions=0.5``, as a number for each writer."""
    if isinstance(given, str):
        pairs = [part.partition("=") for part in given.split(",") if part.strip()]
        named = {name.strip(): value.strip() for name, _, value in pairs}
    elif not isinstance(given, Mapping):
        raise TrainingError(
            f"text_weights {given!r:.200} is not allowed: give writers with a number"
        )
    else:
        pairs, named = [], {str(name): str(value) for name, value in given.items()}
    weights: dict[str, float] = {}
    for name, value in named.items():
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = math.nan
        if not name or not (0 <= weights[name] < math.inf):
            raise TrainingError(
                f"text_weights {given!r:.80} is not allowed: give writers with a number from 0 on, "
                "such as openai=3,template=1"
            )
    if len(pairs) > len(named):
        raise TrainingError(f"text_weights {given!r:.200} names a writer twice: name each once")
    return weights
