"""The adapter networks: vectors [B, D] to one logit per label [B, N]. H hidden width."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from taistore.errors import TrainingError

NETWORKS = ("residual", "paper")
START_SCALE = 20.0
START_BIAS = -4.0


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkShape:
    """What is needed to build a network before its weights are loaded."""

    network: str
    dim: int
    labels: int
    hidden: int
    dropout: float

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise TrainingError(
                f"network {self.network!r} is unknown: choose one of {', '.join(NETWORKS)}"
            )


class SeededDropout(nn.Module):
    """Dropout whose randomness is given with the call, so that a step can be repeated alone."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, values_BH: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Drop values in training; unchanged in evaluation."""
        if not self.training or self.rate == 0:
            return values_BH
        kept_BH = torch.empty_like(values_BH).bernoulli_(1 - self.rate, generator=generator)
        return values_BH * kept_BH.div_(1 - self.rate)


class ThreeLayers(nn.Module):
    """Eq. 2 of arXiv:2312.04160: three fully connected layers, ReLU and dropout after two."""

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.first = nn.Linear(shape.dim, shape.hidden)
        self.second = nn.Linear(shape.hidden, shape.hidden)
        self.last = nn.Linear(shape.hidden, shape.labels)
        self.dropout = SeededDropout(shape.dropout)

    def forward(
        self, vectors_BD: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Logits [B, N] of vectors [B, D]; ``generator`` draws the dropout in training."""
        hidden_BH = self.dropout(F.relu(self.first(vectors_BD)), generator)
        hidden_BH = self.dropout(F.relu(self.second(hidden_BH)), generator)
        logits_BN: torch.Tensor = self.last(hidden_BH)
        return logits_BN


class Residual(nn.Module):
    """Zero-shot plus what the texts teach: scaled cosine + bias per label + :class:`ThreeLayers`.

    The last layer starts at zero, so that training starts from zero-shot.
    """

    prompts: torch.Tensor

    def __init__(self, shape: NetworkShape, prompts_ND: torch.Tensor) -> None:
        super().__init__()
        self.layers = ThreeLayers(shape)
        nn.init.zeros_(self.layers.last.weight)
        nn.init.zeros_(self.layers.last.bias)
        self.scale = nn.Parameter(torch.tensor(START_SCALE))
        self.bias = nn.Parameter(torch.full((shape.labels,), START_BIAS))
        self.register_buffer("prompts", prompts_ND)

    def forward(
        self, vectors_BD: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Logits [B, N] of vectors [B, D]; ``generator`` draws the dropout in training."""
        cosine_BN = F.normalize(vectors_BD, dim=1) @ self.prompts.T
        logits_BN: torch.Tensor = self.layers(vectors_BD, generator)
        return logits_BN + torch.addcmul(self.bias, self.scale, cosine_BN)


AdapterNetwork = ThreeLayers | Residual


def build_network(
    shape: NetworkShape, *, prompts_ND: NDArray[Any] | None = None, seed: int = 0
) -> AdapterNetwork:
    """A network with seeded initial weights.

    ``residual`` needs ``prompts_ND``, the unit prompt vectors of the labels; ``paper`` takes
    none. The global random state of torch is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if shape.network == "paper":
            return ThreeLayers(shape)
        if prompts_ND is None:
            prompts_ND = np.zeros((shape.labels, shape.dim))
        if prompts_ND.shape != (shape.labels, shape.dim):
            raise TrainingError(
                f"prompt vectors have the shape {list(prompts_ND.shape)}, but the store has "
                f"{shape.labels} labels and the encoder {shape.dim} dimensions"
            )
        # A copy, so that no array of the caller's changes under the network.
        return Residual(shape, torch.tensor(np.asarray(prompts_ND, dtype=np.float32)))
