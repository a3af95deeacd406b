"""Random perturbation of vectors (Eq. 5 of arXiv:2312.04160). B batch, D embedding dimension."""

import math
import re
from typing import Literal

import torch

from taistore.errors import TrainingError

Where = Literal["surface", "interior"]
PLACES: tuple[Where, ...] = ("surface", "interior")

AUTO_RADIUS = 2.5
"""``auto`` in multiples of the mean text norm: the paper's 25 at CLIP RN50's norm of about 10."""

_MULTIPLE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)x")


def perturb(
    vectors_BD: torch.Tensor,
    radius: float,
    *,
    where: Where = "surface",
    generator: torch.Generator,
    in_place: bool = False,
) -> torch.Tensor:
    """Add noise to every row: Eq. 5 of arXiv:2312.04160.

    ``surface``: uniform on the sphere of ``radius``, in the unit of the vectors. ``interior``:
    the same direction with a length uniform in [0, radius], which is the paper's 'excessive
    sampling near the centre'; a ball sampled uniformly by volume *is* its surface in hundreds of
    dimensions. Runs where ``vectors_BD`` (floating point [B, D]) lives, with a ``generator`` of
    that device; ``in_place`` overwrites the vectors. Radius 0 returns them unchanged.
    """
    if not (math.isfinite(radius) and radius >= 0):
        raise ValueError(f"radius must be a finite number of at least 0, not {radius}")
    if where not in PLACES:
        raise ValueError(f"where must be one of {', '.join(PLACES)}, not {where!r}")
    if radius == 0:
        return vectors_BD
    device = vectors_BD.device
    noise_BD = torch.randn(vectors_BD.shape, generator=generator, device=device)
    # A Gaussian is the same in every direction: scaled to one length it is uniform on the sphere.
    length_B1 = noise_BD.norm(dim=1, keepdim=True).clamp_min_(1e-12)
    scale_B1 = length_B1.reciprocal_().mul_(radius)
    if where == "interior":
        scale_B1 *= torch.rand(scale_B1.shape, generator=generator, device=device)
    noise_BD *= scale_B1
    if in_place:
        return vectors_BD.add_(noise_BD)
    return noise_BD.add_(vectors_BD).to(vectors_BD.dtype)


def resolve_radius(
    radius: str | float, mean_norm: float, *, auto: float = AUTO_RADIUS, name: str = "radius"
) -> float:
    """A radius in the unit of the vectors.

    ``"auto"`` is ``auto`` times ``mean_norm``, ``"1.5x"`` that multiple of it, and a
    number is taken as it is. Raises :class:`TrainingError` on anything else.

    >>> resolve_radius("auto", 10.0), resolve_radius("2x", 10.0), resolve_radius("25", 10.0)
    (25.0, 20.0, 25.0)
    """
    text = str(radius).strip().lower()
    if text == "auto":
        return auto * mean_norm
    multiple = _MULTIPLE.fullmatch(text)
    if multiple:
        return float(multiple.group(1)) * mean_norm
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise TrainingError(
            f"{name} {radius!r}: give 'auto', a multiple of the mean norm such as '2.5x', "
            "or a number of at least 0"
        )
    return value
