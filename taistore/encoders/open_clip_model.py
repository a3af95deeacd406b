"""Building an open_clip model of any resolution and putting a weights file into it."""

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import (
    convert_to_custom_text_state_dict,
    resize_pos_embed,
    resize_text_pos_embed,
)
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import LayerNormFp32
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from taistore.encoders.attention_pool import POSITIONS_KEY, interpolate_positions
from taistore.encoders.weights import Weights
from taistore.errors import EncoderError

logger = logging.getLogger(__name__)
QUICK = "-quickgelu"
# A hub's model folder says in this file how its weights were trained.
_SIDECAR = "open_clip_config.json"
_STRIDE = 32  # of CLIP ResNets: pixels per cell of the last feature map


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


def recipe_of_file(model: str, path: Path, *, from_openai: bool) -> Recipe:
    """How a local weights file is used.

    In this order: ``open_clip_config.json`` beside it; OpenAI's own archives run on QuickGELU; the
    model's name (``-quickgelu``). Mean and deviation are those that the model's tags agree on.
    """
    entry = _agreed_by_tags(model)
    named = bool(model_config(model).get("quick_gelu", False))
    entry["quick_gelu"] = named or from_openai
    sidecar = path.parent / _SIDECAR
    if sidecar.is_file():
        try:
            content = json.loads(sidecar.read_text(encoding="utf-8"))
            entry |= content.get("preprocess_cfg", {})
            entry["quick_gelu"] = content["model_cfg"].get("quick_gelu", False)
            return _recipe(entry)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EncoderError(
                f"{sidecar} is not an open_clip configuration ({error}): mend or remove it"
            ) from None
    if not entry["quick_gelu"] and model + QUICK in _models():
        logger.warning(
            "%s: taken as trained with GELU; weights trained with QuickGELU, as OpenAI's, are "
            "written open_clip:%s%s/…",
            path,
            model,
            QUICK,
        )
    return _recipe(entry)


def build_model(model: str, *, resolution: int, quick_gelu: bool, dtype: torch.dtype) -> Any:
    """A model without weights, on the CPU in float32; ``dtype`` is what it will be cast to.

    Raises :class:`EncoderError` for a resolution that the image tower cannot take, and where its
    text tower's configuration cannot be fetched.
    """
    config = model_config(model)
    vision, text = config["vision_cfg"], config["text_cfg"]
    _check_resolution(model, vision, resolution)
    native = native_resolution(model)
    by_timm = "timm_model_name" in vision
    if by_timm:
        vision["timm_model_pretrained"] = False
    elif resolution != native:
        vision["image_size"] = resolution
    by_transformers = "hf_model_name" in text
    if by_transformers:
        text["hf_model_pretrained"] = False
    config["quick_gelu"] = quick_gelu
    kind = open_clip.CLIP
    if config.pop("custom_text", False) or by_transformers:
        kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    try:
        built = kind(**config, cast_dtype=None if dtype == torch.float32 else dtype)
    except OSError as error:
        raise EncoderError(
            f"open_clip:{model} needs {text.get('hf_model_name')!r} from the model hub "
            f"({_first_line(error)}): connect once, or use --encoder packaged"
        ) from None
    return built.eval().requires_grad_(False)


def fit_weights(built: Any, weights: Weights, *, model: str, resolution: int, where: str) -> None:
    """Put ``weights`` into a built model, its position embeddings resized to ``resolution``.

    Raises :class:`EncoderError` where they are another architecture's; ``where`` names them.
    """
    state = dict(convert_state_dict(built, dict(weights.tensors)))
    if "positional_embedding" in state and not hasattr(built, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    own = built.state_dict()
    for scalar in ("logit_scale", "logit_bias"):
        if scalar in state and scalar in own and state[scalar].numel() == 1:
            state[scalar] = state[scalar].reshape(own[scalar].shape)
    if "logit_bias" in own and "logit_bias" not in state:
        state["logit_bias"] = torch.zeros_like(own["logit_bias"])
    for name in [name for name in state if name.endswith("position_ids") and name not in own]:
        del state[name]
    for name in [name for name in own if name.endswith("num_batches_tracked")]:
        state.setdefault(name, own[name])
    visual = built.visual
    if isinstance(visual, ModifiedResNet) and POSITIONS_KEY in state:
        grid = int(visual.image_size) // _STRIDE
        state[POSITIONS_KEY] = interpolate_positions(state[POSITIONS_KEY], grid)
    try:
        resize_pos_embed(state, built)
        resize_text_pos_embed(state, built)
        built.load_state_dict(state, strict=True)
    except (RuntimeError, AssertionError, AttributeError):
        raise EncoderError(_mismatch(own, state, model, where)) from None
    if hasattr(visual, "trunk") and resolution != native_resolution(model):
        _resize_timm(built, model, resolution)


def cast_model(built: Any, dtype: torch.dtype, device: torch.device) -> None:
    """Make a loaded model ready to encode: on ``device`` in ``dtype``, laid out for speed.

    Norms stay in float32, as open_clip has it for layer norms. ResNets get their batch norms folded into
    their convolutions (the same function), convolutional towers become channels-last.
    """
    convolutional = any(isinstance(module, nn.BatchNorm2d) for module in built.modules())
    if isinstance(built.visual, ModifiedResNet):
        _fold_batch_norms(built.visual)
    built.to(device, dtype)
    for module in built.modules():
        if isinstance(module, LayerNormFp32 | nn.BatchNorm2d):
            module.float()
    if convolutional:
        built.to(memory_format=torch.channels_last)


def _fold_batch_norms(visual: nn.Module) -> None:
    for block in list(visual.modules()):
        for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1")):
            parts = dict(block.named_children())
            before, after = parts.get(conv), parts.get(norm)
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                setattr(block, conv, fuse_conv_bn_eval(before, after))
                setattr(block, norm, nn.Identity())


def _resize_timm(built: Any, model: str, resolution: int) -> None:
    """Have timm resize its tower, and try it: not every one runs at another size."""
    try:
        built.visual.set_input_size(resolution)
        with torch.inference_mode():
            built.encode_image(torch.zeros(1, 3, resolution, resolution))
    except (RuntimeError, AssertionError, ValueError, TypeError, AttributeError) as error:
        raise EncoderError(
            f"open_clip:{model} cannot run at {resolution} pixels ({_first_line(error)}): use "
            f"@{native_resolution(model)}"
        ) from None


def _check_resolution(model: str, vision: Mapping[str, Any], resolution: int) -> None:
    if "timm_model_name" in vision or resolution == native_resolution(model):
        return
    step = vision["patch_size"] if isinstance(vision["layers"], int) else _STRIDE
    if resolution % step:
        near = max(round(resolution / step), 1) * step
        raise EncoderError(
            f"open_clip:{model} sees images in steps of {step} pixels, {resolution} is none: "
            f"use @{near}"
        )


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


def _mismatch(
    own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], model: str, where: str
) -> str:
    shapes = (
        f"{name} is {tuple(state[name].shape)} there and {tuple(own[name].shape)} in {model}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    )
    missing = (f"{name} is missing there" for name in own if name not in state)
    extra = (f"{name} is unknown to {model}" for name in state if name not in own)
    reason = next((r for group in (missing, shapes, extra) for r in group), "their layout differs")
    return (
        f"{where} are not weights of open_clip's {model} ({reason}): "
        "name the model that they were trained as"
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
