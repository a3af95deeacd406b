"""An open_clip model of which only the shapes are there: no weights, no memory, no downloads."""

from typing import Any

import torch

from taistore.encoders.open_clip.catalogue import model_config, native_resolution
from taistore.encoders.open_clip.model import build_model

META = torch.device("meta")
"""Where tensors have a shape and a type and nothing in them."""


def shapes_of(model: str) -> Any:
    """``model`` at its own resolution, on :data:`META`.

    Raises :class:`EncoderError` for a model that open_clip does not have.
    """
    quick_gelu = bool(model_config(model).get("quick_gelu", False))
    with META:
        return build_model(
            model,
            resolution=native_resolution(model),
            quick_gelu=quick_gelu,
            dtype=torch.float32,
        )
