"""Vectors of a grid of image regions, as a by-product of encoding the whole image.

Each position of the last feature map is sent alone through what the tower does after attention
mixes positions, so that it lands in the space of the image vectors:

- ResNet: the attention pool's value and output projections at each cell;
- ViT: the last block with each patch attending to itself alone, hence to its value projection,
  then the final norm and projection (MaskCLIP, Zhou et al. 2022, arXiv:2112.01071);
- timm towers: the pooling and projection head on each position.

Shapes: B batch, L positions, C channels, D embedding dimension, G side of the grid of regions.
"""

from collections.abc import Callable
from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

# pixels [B, 3, H, W], G -> whole images [B, D], regions [B, G*G, D] row by row from the top left
EncodeRegions = Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]


def region_encoder(visual: nn.Module) -> EncodeRegions | None:
    """The function that encodes whole images and regions; ``None`` where a tower has no regions.

    The whole vectors are those of ``visual(pixels)``. A feature map of another size is averaged
    (or, for G above its own, repeated) to G x G.
    """
    if isinstance(visual, ModifiedResNet):
        return lambda pixels, grid: _resnet(visual, pixels, grid)
    if isinstance(visual, VisionTransformer) and visual.attn_pool is None:
        return lambda pixels, grid: _transformer(visual, pixels, grid)
    if isinstance(visual, TimmModel):
        return lambda pixels, grid: _timm(visual, pixels, grid)
    return None


def _resnet(visual: Any, pixels: torch.Tensor, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    whole_BD, map_BCHW = _with_input_of(visual.attnpool, visual, pixels)
    pool = visual.attnpool
    side = map_BCHW.shape[-2:]
    positions_CHW = pool.positional_embedding[1:].T.reshape(-1, *side).to(map_BCHW.dtype)
    # Both projections are linear: averaging cells before them is the same and cheaper.
    cells_BCL = F.adaptive_avg_pool2d(map_BCHW + positions_CHW, grid).flatten(2)
    regions_BLD = pool.c_proj(pool.v_proj(cells_BCL.transpose(1, 2)))
    return whole_BD, regions_BLD


def _transformer(visual: Any, pixels: torch.Tensor, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    last = visual.transformer.resblocks[-1]
    whole_BD, tokens_BLC = _with_input_of(last, visual, pixels)
    patches_BLC = tokens_BLC[:, 1:]
    batch, length, channels = patches_BLC.shape
    # A sequence of one token attends to itself: what is left of attention is its value path.
    alone_NC = last(patches_BLC.reshape(batch * length, 1, channels))[:, 0]
    alone_ND = visual.ln_post(alone_NC)
    if visual.proj is not None:
        alone_ND = alone_ND @ visual.proj
    alone_BLD = alone_ND.reshape(batch, length, -1)
    return whole_BD, _to_grid(alone_BLD, visual.grid_size, grid)


def _timm(visual: Any, pixels: torch.Tensor, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    trunk = visual.trunk
    features = trunk.forward_features(pixels)
    whole_BD = visual.head(trunk.forward_head(features))
    batch = features.shape[0]
    if features.ndim == 4 and getattr(trunk, "output_fmt", "NCHW") == "NHWC":
        size = features.shape[1:3]
        alone = features.flatten(0, 2)[:, None, None]
    elif features.ndim == 4:
        size = features.shape[2:]
        alone = features.flatten(2).transpose(1, 2).flatten(0, 1)[:, :, None, None]
    else:  # a transformer: [B, prefix + L, C]
        size = trunk.patch_embed.grid_size
        prefix = int(getattr(trunk, "num_prefix_tokens", 0))
        # Some pools take the class token, some skip it: a patch in every place suits them all.
        alone = features[:, prefix:].flatten(0, 1)[:, None].expand(-1, prefix + 1, -1)
    alone_ND = visual.head(trunk.forward_head(alone))
    return whole_BD, _to_grid(alone_ND.reshape(batch, -1, alone_ND.shape[-1]), size, grid)


def _with_input_of(
    layer: nn.Module, visual: nn.Module, pixels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run ``visual`` and also return what went into ``layer``."""
    seen: list[torch.Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        output = visual(pixels)
    finally:
        handle.remove()
    return output, seen[0]


def _to_grid(cells_BLD: torch.Tensor, size: Any, grid: int) -> torch.Tensor:
    batch, _, dim = cells_BLD.shape
    map_BDHW = cells_BLD.transpose(1, 2).reshape(batch, dim, *size)
    return F.adaptive_avg_pool2d(map_BDHW, grid).flatten(2).transpose(1, 2)
