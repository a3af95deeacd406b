"""Attention-pool positions of CLIP ResNets: at another resolution, and left out.

Shapes: B batch, C channels of the last feature map, G side of its square grid (7 at 224 pixels),
L = G*G cells, T = 1 + L tokens, A attention heads of E = C / A channels, D embedding dimension.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from taistore.errors import EncoderError

POSITIONS_KEY = "visual.attnpool.positional_embedding"


def interpolate_positions(positions_PC: torch.Tensor, grid: int) -> torch.Tensor:
    """Positions [1 + G*G, C] of the pool's mean token and cells, for a ``grid`` x ``grid`` map.

    The mean token's position (row 0) stays; the cells are resized bicubically with antialiasing,
    as open_clip resizes the positions of its ViTs (and of no ResNet), in float32. At its own grid
    nothing changes. Raises :class:`EncoderError` where the rows are not one more than a square
    number.
    """
    cells = positions_PC.shape[0] - 1
    own = math.isqrt(max(cells, 0))
    if positions_PC.ndim != 2 or own == 0 or own * own != cells:
        raise EncoderError(
            f"{POSITIONS_KEY} has the shape {tuple(positions_PC.shape)}, not [1 + G*G, C]: "
            "these are not the weights of a CLIP ResNet"
        )
    if own == grid:
        return positions_PC
    map_1CGG = positions_PC[1:].float().T.reshape(1, -1, own, own)
    map_1CGG = F.interpolate(
        map_1CGG, size=(grid, grid), mode="bicubic", align_corners=False, antialias=True
    )
    cells_PC = map_1CGG[0].flatten(1).T.to(positions_PC.dtype)
    return torch.cat([positions_PC[:1], cells_PC])


def leave_positions_out(visual: Any) -> None:
    """Have a ResNet's pool, with its weights, make whole images' vectors without positions."""
    visual.attnpool = PoolWithoutPositions(visual.attnpool)


class PoolWithoutPositions(nn.Module):
    """open_clip's attention pool but for its positional embedding, which is not added.

    TaI-DPT (arXiv:2211.12739) scores whole images so. All parts keep their names: the vectors of
    regions go by them, and by the positions, as with open_clip's own pool.
    """

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.positional_embedding: nn.Parameter = pool.positional_embedding
        self.q_proj: nn.Linear = pool.q_proj
        self.k_proj: nn.Linear = pool.k_proj
        self.v_proj: nn.Linear = pool.v_proj
        self.c_proj: nn.Linear = pool.c_proj
        self.num_heads: int = pool.num_heads

    def forward(self, map_BCGG: torch.Tensor) -> torch.Tensor:
        """Vectors [B, D]: the mean of the cells attends to itself and to each of them."""
        cells_BLC = map_BCGG.flatten(2).transpose(1, 2)
        mean_B1C = cells_BLC.mean(dim=1, keepdim=True)
        tokens_BTC = torch.cat([mean_B1C, cells_BLC], dim=1)
        seen_BA1E = F.scaled_dot_product_attention(
            self._heads(self.q_proj(mean_B1C)),
            self._heads(self.k_proj(tokens_BTC)),
            self._heads(self.v_proj(tokens_BTC)),
        )
        vectors_BD: torch.Tensor = self.c_proj(seen_BA1E.flatten(1))
        return vectors_BD

    def _heads(self, tokens_BTC: torch.Tensor) -> torch.Tensor:
        batch, tokens, _ = tokens_BTC.shape
        return tokens_BTC.view(batch, tokens, self.num_heads, -1).transpose(1, 2)
