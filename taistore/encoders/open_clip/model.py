"""Building an open_clip model of any resolution and putting a weights file into it."""

from collections.abc import Callable, Mapping, Sequence
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
from torch.overrides import TorchFunctionMode

from taistore.encoders.open_clip.attention_pool import (
    POSITIONS_KEY,
    SingleQueryPool,
    interpolate_positions,
)
from taistore.encoders.open_clip.catalogue import model_config, native_resolution
from taistore.encoders.open_clip.tower_block import keep_end_in_float32, use_tower_blocks
from taistore.errors import EncoderError

_DRAWING = {"normal_", "uniform_", "trunc_normal_", "kaiming_normal_", "kaiming_uniform_"}
_DRAWING |= {"xavier_normal_", "xavier_uniform_"}
_STRIDE = 32  # of CLIP ResNets: pixels per cell of the last feature map


class _NoRandomWeights(TorchFunctionMode):
    """Leaves out the drawing of weights that a file replaces: most of the time of building."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func.__name__ in _DRAWING:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


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
        # Loading must not shift the random numbers of whoever loads.
        with torch.random.fork_rng(devices=[]), _NoRandomWeights():
            built = kind(**config, cast_dtype=None if dtype == torch.float32 else dtype)
    except OSError as error:
        raise EncoderError(
            f"open_clip:{model} needs {text.get('hf_model_name')!r} from the model hub "
            f"({_first_line(error)}): connect once, or use encoder=packaged"
        ) from None
    return built.eval().requires_grad_(False)


def fit_weights(
    built: Any, weights: Mapping[str, torch.Tensor], *, model: str, resolution: int, where: str
) -> None:
    """Put ``weights`` into a built model, its position embeddings resized to ``resolution``.

    Raises :class:`EncoderError` where they are another architecture's; ``where`` names them.
    """
    state = dict(convert_state_dict(built, dict(weights)))
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


def cast_model(
    built: Any, dtype: torch.dtype, device: torch.device, *, positions: bool = True
) -> None:
    """Make a loaded model ready to encode: on ``device`` in ``dtype``, laid out for speed.

    Norms stay in float32, as open_clip has it for layer norms. ResNets get their batch norms folded
    into their convolutions, they and ViTs compute what they are read at (the same functions), and
    convolutional towers become channels-last. Without ``positions`` a ResNet's pool adds none.
    """
    convolutional = any(isinstance(module, nn.BatchNorm2d) for module in built.modules())
    if isinstance(built.visual, ModifiedResNet):
        _fold_batch_norms(built.visual)
        built.visual.attnpool = SingleQueryPool(built.visual.attnpool, positions=positions)
    use_tower_blocks(built)
    built.to(device, dtype)
    for module in built.modules():
        if isinstance(module, LayerNormFp32 | nn.BatchNorm2d):
            module.float()
    keep_end_in_float32(built)
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


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
