"""The adapter networks: vectors [B, D] to one logit per label [B, N]. H hidden width."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import nn

from taistore.errors import TrainingError

Network = Literal["residual", "paper", "small"]
NETWORKS: tuple[Network, ...] = get_args(Network)

HIDDEN_LAYERS: dict[Network, int] = {"residual": 2, "paper": 3, "small": 2}
"""Hidden layers of each network; those of ``residual`` can be left out."""

START_DEVIATION = 3.0
"""Deviation of the first logits: less lets the correction outweigh zero-shot sooner, which gains
little on VOC and loses 1 point of top-1 on real CLIP vectors with one text per label."""

MIN_DEVIATION = 1e-3

MAX_WEIGHTS = 10**9
"""Weights of a network at most, 4 GB: 20,000 labels with 1,024 dimensions have 40 million."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkShape:
    """What is needed to build a network before its weights are loaded.

    ``hidden`` is the width of the fully connected layers; 0 leaves them out (``residual`` only).
    """

    network: Network
    dim: int
    labels: int
    hidden: int
    dropout: float

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise TrainingError(
                f"network {self.network!r} is unknown: choose one of {', '.join(NETWORKS)}"
            )
        if self.hidden < (0 if self.network == "residual" else 1):
            raise TrainingError(f"hidden {self.hidden} is too narrow for network {self.network!r}")
        if self.dim < 1 or self.labels < 1 or not 0 <= self.dropout < 1:
            raise TrainingError(
                f"a network of {self.dim} dimensions, {self.labels} labels and dropout "
                f"{self.dropout}: give at least 1, 1, and a number from 0 below 1"
            )
        wide = self.dim + self.labels
        between = (HIDDEN_LAYERS[self.network] - 1) * self.hidden
        if self.hidden * (wide + between) + 2 * self.dim * self.labels > MAX_WEIGHTS:
            raise TrainingError(
                f"a network of {self.dim:,} dimensions, {self.labels:,} labels and hidden "
                f"{self.hidden:,} has more than {MAX_WEIGHTS:,} weights: give a smaller hidden="
            )


class Head(NamedTuple):
    """A part of the logits: ``scale * inputs @ table.T + bias`` of inputs [B, K].

    ``table`` names a weight [N, K] of the network, or a buffer that is not ``learnt``.
    """

    inputs: torch.Tensor
    table: str
    bias: nn.Parameter | None = None
    scale: nn.Parameter | None = None
    learnt: bool = True


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


class FeedForward(nn.Module):
    """The network of Eq. 2: layers of a linear map, ReLU and dropout, and a linear head.

    Section 4.1 of arXiv:2312.04160: "a three-layer feed-forward neural network with each layer
    consisting of a fully-connected layer followed by a ReLU activation and a dropout layer". Width
    and head are not named; three layers of 2,048 and a head have 10,655,824 weights at 1,024
    dimensions and 80 labels, the 10.7 million that Table 4 gives the adapter. ``small`` has two
    layers.
    """

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.first = nn.Linear(shape.dim, shape.hidden)
        self.second = nn.Linear(shape.hidden, shape.hidden)
        self.third: nn.Linear | None = None
        if HIDDEN_LAYERS[shape.network] == 3:
            self.third = nn.Linear(shape.hidden, shape.hidden)
        self.last = nn.Linear(shape.hidden, shape.labels)
        self.dropout = SeededDropout(shape.dropout)

    def forward(
        self, vectors_BD: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Logits [B, N] of vectors [B, D]; ``generator`` draws the dropout in training."""
        logits_BN: torch.Tensor = self.last(self.hidden(vectors_BD, generator))
        return logits_BN

    def hidden(
        self, vectors_BD: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """What the linear head sees [B, H]."""
        hidden_BH = vectors_BD
        for layer in (self.first, self.second, self.third):
            if layer is not None:
                hidden_BH = self.dropout(F.relu(layer(hidden_BH)), generator)
        return hidden_BH

    def heads(self, vectors_BD: torch.Tensor, generator: torch.Generator | None) -> list[Head]:
        """The parts whose sum :meth:`forward` is."""
        return [Head(self.hidden(vectors_BD, generator), "last.weight", self.last.bias)]

    def learnt_tables(self) -> list[str]:
        """Names of the weights [N, K] of :meth:`heads` that are learnt."""
        return ["last.weight"]


class Residual(nn.Module):
    """Zero-shot plus what the texts teach: scaled cosine + bias per label + a learned correction.

    The correction is linear, and with a hidden width also :class:`FeedForward`. It starts at zero,
    so that training starts from zero-shot, and it does not see the direction that all texts share:
    images lack it (the modality gap), so what is learned along it would shift every image's
    scores, label by label. With real CLIP vectors that costs more than 1 point of top-1.
    """

    prompts: torch.Tensor
    shared: torch.Tensor

    def __init__(self, shape: NetworkShape) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.dim, shape.labels)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.layers: FeedForward | None = None
        if shape.hidden:
            self.layers = FeedForward(shape)
            nn.init.zeros_(self.layers.last.weight)
            nn.init.zeros_(self.layers.last.bias)
        self.register_buffer("prompts", torch.zeros(shape.labels, shape.dim))
        self.register_buffer("shared", torch.zeros(shape.dim))

    def forward(
        self, vectors_BD: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Logits [B, N] of vectors [B, D]; ``generator`` draws the dropout in training."""
        cosine_BN = F.normalize(vectors_BD, dim=1) @ self.prompts.T
        own_BD = self._own(vectors_BD)
        logits_BN: torch.Tensor = torch.addcmul(self.linear(own_BD), self.scale, cosine_BN)
        if self.layers is not None:
            logits_BN = logits_BN + self.layers(own_BD, generator)
        return logits_BN

    def heads(self, vectors_BD: torch.Tensor, generator: torch.Generator | None) -> list[Head]:
        """The parts whose sum :meth:`forward` is."""
        unit_BD = F.normalize(vectors_BD, dim=1)
        own_BD = self._own(vectors_BD)
        parts = [
            Head(unit_BD, "prompts", scale=self.scale, learnt=False),
            Head(own_BD, "linear.weight", self.linear.bias),
        ]
        if self.layers is not None:
            hidden_BH = self.layers.hidden(own_BD, generator)
            parts.append(Head(hidden_BH, "layers.last.weight", self.layers.last.bias))
        return parts

    def _own(self, vectors_BD: torch.Tensor) -> torch.Tensor:
        """The vectors without what they have of the shared direction."""
        shared_BD = (vectors_BD @ self.shared)[:, None] * self.shared
        if vectors_BD.requires_grad and torch.is_grad_enabled():
            return vectors_BD - shared_BD
        return torch.sub(vectors_BD, shared_BD, out=shared_BD)

    def learnt_tables(self) -> list[str]:
        """Names of the weights [N, K] of :meth:`heads` that are learnt."""
        layers = [] if self.layers is None else ["layers.last.weight"]
        return ["linear.weight", *layers]

    @torch.no_grad()
    def start_from(
        self,
        prompts_ND: torch.Tensor,
        shared_D: torch.Tensor,
        perturbed_BD: torch.Tensor,
        positive_rate: float,
        *,
        deviation: float = START_DEVIATION,
        scale: float | None = None,
    ) -> None:
        """Begin as zero-shot with logits of a useful size.

        ``prompts_ND`` are unit prompt vectors, which the network keeps without a copy; ``shared_D``
        is the mean of the unit text vectors.
        Cosines spread differently in every encoder, and less under perturbation: scale and bias
        give the logits of ``perturbed_BD`` this ``deviation`` around the log odds of
        ``positive_rate``, the share of labels that are positive. ``scale`` takes the place of that
        one, in a training that goes on from another.
        """
        self.prompts = prompts_ND.to(self.prompts)
        self.shared.copy_(F.normalize(shared_D, dim=0))
        cosine_BN = F.normalize(perturbed_BD, dim=1) @ self.prompts.T
        # Without a correction, since a single label and text have no deviation but 0.
        spread = cosine_BN.std(correction=0).clamp_min(MIN_DEVIATION)
        self.scale.fill_(deviation / float(spread) if scale is None else scale)
        rate = min(max(positive_rate, 1e-6), 0.5)
        self.linear.bias.fill_(math.log(rate / (1 - rate)) - float(self.scale * cosine_BN.mean()))


AdapterNetwork = FeedForward | Residual


def build_network(shape: NetworkShape, *, seed: int = 0) -> AdapterNetwork:
    """A network with seeded initial weights; the global random state of torch is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Residual(shape) if shape.network == "residual" else FeedForward(shape)
