"""Small open_clip models of every architecture, randomly initialised and saved to files.

They are real: open_clip builds them from the configurations in ``models/``, and the production
code loads them. The names are ``small-resnet``, ``small-vit`` and so on.
"""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from torch import nn

open_clip.add_model_config(Path(__file__).parent / "models")

MEAN = np.array(open_clip.OPENAI_DATASET_MEAN, dtype=np.float32).reshape(3, 1, 1)
STD = np.array(open_clip.OPENAI_DATASET_STD, dtype=np.float32).reshape(3, 1, 1)


def build(name: str, *, seed: int = 0, **changes: Any) -> Any:
    """The model ``name`` in evaluation mode; no part of it is zero or without effect."""
    config = open_clip.get_model_config(name) | changes
    kind = open_clip.CustomTextCLIP if config.pop("custom_text", False) else open_clip.CLIP
    if "multimodal_cfg" in config:
        kind = open_clip.CoCa
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(**config)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.3)
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 1.5)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # else the picture fades with depth
            elif isinstance(module, nn.LayerNorm):
                module.weight.data.uniform_(0.5, 1.5)
                module.bias.data.normal_(0, 0.3)
        for parameter_name, parameter in model.named_parameters():
            if any(word in parameter_name for word in ("positional", "token_embedding", "decoder")):
                parameter.data.normal_(0, 0.5)
            elif parameter_name.endswith("bias") and not parameter.data.any():
                parameter.data.normal_(0, 0.1)
    return model.eval()


def save(name: str, folder: Path, *, seed: int = 0, filename: str = "weights.pt") -> Path:
    """Build ``name`` and write its ``state_dict``."""
    path = folder / filename
    torch.save(build(name, seed=seed).state_dict(), path)
    return path


def pixels(count: int, side: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth random pictures as the encoder's ``prepare`` gives them: uint8 [count, 3, H, W]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 3, 4, 4)).astype(np.float32)
    fine = np.kron(coarse, np.ones((side // 4, side // 4), dtype=np.float32))
    noisy = fine + rng.normal(0, 20, fine.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def normalised(batch: NDArray[np.uint8]) -> torch.Tensor:
    """Pixels as open_clip's own transform hands them to the model."""
    return torch.from_numpy((batch.astype(np.float32) / 255 - MEAN) / STD)
