"""The attention pool of CLIP ResNets, and its positions at another resolution.

Shapes: B batch, C channels of the last feature map, G side of its square grid (7 at 224 pixels),
L = G*G cells, T = 1 + L tokens, D embedding dimension.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from taistore.encoders.open_clip.one_query import Projections, attend
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


class SingleQueryPool(nn.Module):
    """open_clip's attention pool: the mean of the cells attends to itself and to each of them.

    Without ``positions`` its positional embedding is not added to the tokens of whole images, as
    TaI-DPT (arXiv:2211.12739) scores them. All parts keep their names: the vectors of regions go by
    them, and by the positions, as with open_clip's own pool.
    """

    def __init__(self, pool: Any, *, positions: bool) -> None:
        super().__init__()
        self.positional_embedding: nn.Parameter = pool.positional_embedding
        self.q_proj: nn.Linear = pool.q_proj
        self.k_proj: nn.Linear = pool.k_proj
        self.v_proj: nn.Linear = pool.v_proj
        self.c_proj: nn.Linear = pool.c_proj
        self.num_heads: int = pool.num_heads
        self.positions = positions

    def forward(self, map_BCGG: torch.Tensor) -> torch.Tensor:
        """Vectors [B, D]."""
        cells_BLC = map_BCGG.flatten(2).transpose(1, 2)
        tokens_BTC = torch.cat([cells_BLC.mean(dim=1, keepdim=True), cells_BLC], dim=1)
        if self.positions:
            tokens_BTC = tokens_BTC + self.positional_embedding.to(tokens_BTC.dtype)
        q, k, v = self.q_proj, self.k_proj, self.v_proj
        seen_BC = attend(
            tokens_BTC[:, 0],
            tokens_BTC,
            Projections(q.weight, q.bias, k.weight, v.weight, v.bias),
            heads=self.num_heads,
        )
        vectors_BD: torch.Tensor = self.c_proj(seen_BC)
        return vectors_BD
