"""Products of unit vectors in a format that the processor multiplies fast, with a bound on errors.

B vectors of a block, D embedding dimension, Q queries.
"""

from typing import Literal

import torch

Format = Literal["fp32", "bf16"]


class Coarse:
    """Unit vectors [B, D] in ``form``.

    ``error``: the largest Euclidean distance from a vector to what stands for it, whose greatest
    length is ``length``.
    """

    def __init__(self, unit_BD: torch.Tensor, form: Format) -> None:
        self.error, self.length = 0.0, 1.0 + 2.0**-20
        self.values_BD = unit_BD
        if form == "bf16" and len(unit_BD):
            self.values_BD = unit_BD.bfloat16()
            stand_BD = self.values_BD.float()
            self.length = _longest(stand_BD)
            self.error = _longest(stand_BD.sub_(unit_BD))


def product(queries: Coarse, rows: Coarse) -> torch.Tensor:
    """Coarse scores [Q, B], float32 or bf16."""
    return queries.values_BD @ rows.values_BD.T


def margin(queries: Coarse, rows: Coarse) -> float:
    """How far a coarse score, before it is rounded to bf16, may be from the float32 one.

    With ``q = q' + f`` and ``x = x' + e``: ``q x - q' x' = f x + q' e``, at most ``|f| + |q'| |e|``
    by Cauchy and Schwarz as ``x`` has the length 1; and what float32 sums of D products, in any
    order, may lose on both sides.
    """
    lost_in_sums = rows.values_BD.shape[1] * 2.0**-22
    return queries.error * (1 + 2.0**-20) + queries.length * rows.error + lost_in_sums


def _longest(vectors_BD: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(vectors_BD, dim=1).max()) * (1 + 2.0**-14)
