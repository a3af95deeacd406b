"""What open_clip knows of its models and pretrained tags, and what a weights file leaves unsaid."""

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip

from taistore.encoders.open_clip.activation import Statement, stated_activation
from taistore.encoders.open_clip.spec import NO_POSITIONS, OpenClipSpec, parse_open_clip_spec
from taistore.encoders.weights import Weights
from taistore.errors import EncoderError
from taistore.printable import printable

logger = logging.getLogger(__name__)
QUICK = "-quickgelu"
# A hub's model folder says in this file how its weights were trained.
_SIDECAR = "open_clip_config.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What a weights file does not say of itself: how it wants its pixels and its activations."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str
    quick_gelu: bool


def model_config(model: str) -> dict[str, Any]:
    """open_clip's configuration of ``model``; raises :class:`EncoderError` with close matches."""
    config: dict[str, Any] | None = open_clip.get_model_config(model)
    if config is None:
        raise EncoderError(f"open_clip has no model {model!r}: {_close(model, _models())}")
    return config


def native_resolution(model: str) -> int:
    """Pixels of a side that ``model`` was configured for."""
    size: int | Sequence[int] = model_config(model)["vision_cfg"].get("image_size", 224)
    return size if isinstance(size, int) else int(size[0])


def known_spec(spec: OpenClipSpec | str) -> OpenClipSpec:
    """The one spelling of an encoder of a model that open_clip has.

    Raises :class:`EncoderError` for malformed text, an unknown model, and where vectors without
    positions are asked of a model whose image tower is no ResNet with an attention pool.
    """
    parsed = parse_open_clip_spec(spec) if isinstance(spec, str) else spec
    vision = model_config(parsed.model)["vision_cfg"]
    if not parsed.positions and ("timm_model_name" in vision or isinstance(vision["layers"], int)):
        raise EncoderError(
            f"open_clip:{parsed.model} has no attention pool with positions, as RN50 and its kin "
            f"have: leave {NO_POSITIONS} out"
        )
    return parsed.canonical(native_resolution(parsed.model))


def tag_config(model: str, tag: str) -> dict[str, Any]:
    """open_clip's entry for a pretrained tag; raises :class:`EncoderError` with those there are."""
    model_config(model)
    entry: dict[str, Any] = open_clip.get_pretrained_cfg(model, tag)
    if not entry:
        tags: list[str] = open_clip.list_pretrained_tags_by_model(model)
        hint = _close(tag, tags) if tags else "none is known, give a weights file"
        raise EncoderError(f"open_clip has no pretrained tag {tag!r} for {model}: {hint}")
    return entry


def recipe_of_tag(model: str, tag: str) -> Recipe:
    """How the weights of a pretrained tag are used, as open_clip lists it."""
    return _recipe(tag_config(model, tag))


def recipe_of_file(model: str, path: Path, weights: Weights) -> Recipe:
    """How a local weights file, which holds ``weights``, is used.

    Mean and deviation are those of ``open_clip_config.json`` beside it, else those that the model's
    tags agree on. The activation is what :func:`stated_activation` knows, else what that file says,
    else the model's name. Raises :class:`EncoderError` where the name says another one than the
    file; of a name without ``-quickgelu`` the file beside it may, as it configures the model.
    """
    entry = _agreed_by_tags(model)
    stated = stated_activation(path, weights)
    beside = _sidecar(path)
    if beside is not None:
        preprocessing, quick_gelu = beside
        entry |= preprocessing
        if stated is None and quick_gelu and not _named_quick(model):
            return _recipe(entry | {"quick_gelu": True})
        stated = stated or Statement(quick_gelu, _SIDECAR)
    named = _named_quick(model)
    twin = model.removesuffix(QUICK) if named else model + QUICK
    if stated is None:
        if not named and twin in _models():
            logger.warning(
                "%s: taken as trained with GELU, as nothing in it says otherwise; weights trained "
                "with QuickGELU are written open_clip:%s/…",
                printable(str(path)),
                twin,
            )
        return _recipe(entry | {"quick_gelu": named})
    if stated.quick_gelu != named and twin != model and twin in _models():
        raise EncoderError(
            f"weights file {path} was trained with {stated.activation} (told by {stated.by}), "
            f"which {model} is not: write open_clip:{twin}/{path}"
        )
    return _recipe(entry | {"quick_gelu": stated.quick_gelu})


def _named_quick(model: str) -> bool:
    return bool(model_config(model).get("quick_gelu", False))


def _sidecar(path: Path) -> tuple[dict[str, Any], bool] | None:
    """Preprocessing and QuickGELU as the file beside the weights has them; None without one."""
    sidecar = path.parent / _SIDECAR
    if not sidecar.is_file():
        return None
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
        preprocessing = dict(content.get("preprocess_cfg", {}))
        _recipe({"mean": (0,) * 3, "std": (1,) * 3, "interpolation": "", **preprocessing})
        return preprocessing, bool(content["model_cfg"].get("quick_gelu", False))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EncoderError(
            f"{sidecar} is not an open_clip configuration ({error}): mend or remove it"
        ) from None


def _agreed_by_tags(model: str) -> dict[str, Any]:
    """Preprocessing that all tags of ``model`` share; OpenAI's where they differ or are none."""
    entries = [
        open_clip.get_pretrained_cfg(model, tag)
        for tag in open_clip.list_pretrained_tags_by_model(model)
    ]
    agreed: dict[str, Any] = {
        "mean": open_clip.OPENAI_DATASET_MEAN,
        "std": open_clip.OPENAI_DATASET_STD,
        "interpolation": "bicubic",
    }
    for key in agreed:
        values = {entry[key] for entry in entries}
        if len(values) == 1:
            agreed[key] = values.pop()
    return agreed


def _recipe(entry: Mapping[str, Any]) -> Recipe:
    mean, std = (tuple(float(value) for value in entry[key]) for key in ("mean", "std"))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"mean {mean} and std {std} are not three numbers each")
    return Recipe(
        mean=mean,
        std=std,
        interpolation=str(entry["interpolation"]),
        quick_gelu=bool(entry.get("quick_gelu", False)),
    )


def _models() -> list[str]:
    models: list[str] = open_clip.list_models()
    return models


def _close(name: str, known: Sequence[str]) -> str:
    """Names in ``known`` that look like ``name``, whatever the case."""
    folded = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), folded, n=4, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(folded[candidate] for candidate in near)}?"
    return f"known are {', '.join(list(known)[:6])}{', …' if len(known) > 6 else ''}"
