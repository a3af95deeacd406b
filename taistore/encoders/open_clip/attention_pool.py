"""Attention-pool positions of CLIP ResNets at another resolution; open_clip does it for ViTs only.

Shapes: C channels of the last feature map, G side of its square grid (7 at 224 pixels).
"""

import math

import torch
from torch.nn import functional as F

from taistore.errors import EncoderError

POSITIONS_KEY = "visual.attnpool.positional_embedding"


def interpolate_positions(positions_PC: torch.Tensor, grid: int) -> torch.Tensor:
    """Positions [1 + G*G, C] of the pool's mean token and cells, for a ``grid`` x ``grid`` map.

    The mean token's position (row 0) stays; the cells are resized bicubically with antialiasing,
    as open_clip resizes the positions of its ViTs, in float32. At its own grid nothing changes.
    Raises :class:`EncoderError` where the rows are not one more than a square number.
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
