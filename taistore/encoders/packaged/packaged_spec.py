"""The packaged encoder's models and their specifications, read without loading torch."""

import re
from typing import NamedTuple

from taistore.errors import EncoderError

DEFAULT_MODEL = "lite0+lite2"
PREFIX = "packaged"
_SMALLEST, _LARGEST = 64, 1024
_FORM = re.compile(r"packaged(?::(?P<model>[^@]*)(?:@(?P<resolution>\d{1,5}))?)?")


class PackagedModel(NamedTuple):
    """The image towers of a model (their distributions are averaged) and its own resolution."""

    towers: tuple[str, ...]
    resolution: int


MODELS = {
    "lite0": PackagedModel(("lite0",), 448),
    "lite2": PackagedModel(("lite2",), 384),
    "lite0+lite2": PackagedModel(("lite0", "lite2"), 384),
}


def parse_packaged_spec(spec: str) -> tuple[str, int]:
    """Model and resolution of ``packaged[:<model>[@<resolution>]]``, defaults filled in.

    Raises :class:`EncoderError`, listing what exists.

    >>> parse_packaged_spec("packaged:lite0@224")
    ('lite0', 224)
    """
    form = _FORM.fullmatch(spec)
    if form is None:
        raise EncoderError(f"encoder {spec!r} is unknown: {_what_exists()}")
    model = form["model"] if form["model"] is not None else DEFAULT_MODEL
    resolution = int(form["resolution"]) if form["resolution"] else None
    return model, model_resolution(model, resolution)


def model_resolution(model: str, resolution: int | None) -> int:
    """Pixels a side: the model's own where none are given; EncoderError where it has no such."""
    if model not in MODELS:
        raise EncoderError(f"packaged encoder {model!r} is unknown: {_what_exists()}")
    if resolution is None:
        return MODELS[model].resolution
    if not _SMALLEST <= resolution <= _LARGEST:
        raise EncoderError(
            f"packaged:{model}@{resolution}: the resolution is outside {_SMALLEST} to {_LARGEST} "
            f"pixels: {_what_exists()}"
        )
    return resolution


def _what_exists() -> str:
    known = ", ".join(f"{PREFIX}:{name}@{model.resolution}" for name, model in MODELS.items())
    return f"use {PREFIX} or {known} (or another @<resolution>, such as packaged:lite0@320)"
