"""An adapter's logits as one product of features and weights, so that a few can be made alone.

Shapes: B vectors, D embedding dimension, F features, N labels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from taistore.adapter.network import AdapterNetwork, FeedForward, Residual


@dataclass(frozen=True, slots=True)
class LastLayer:
    """Logits are ``scale cosine + features weights + bias``.

    ``weights_NF`` and ``bias_N`` are of the labels, ``features`` maps raw vectors [B, D] to [B, F],
    and the cosine is that with the prompts that the ladder has too (0 times for a network that
    knows none).
    """

    weights_NF: Tensor
    bias_N: Tensor
    features: Callable[[Tensor], Tensor]
    scale: float


def last_layer(network: AdapterNetwork, prompts_ND: Tensor) -> LastLayer | None:
    """The last layer of a network in evaluation.

    None of a residual one whose prompts are not these unit vectors: its cosines are others then.
    """
    if isinstance(network, FeedForward):
        return LastLayer(network.last.weight, network.last.bias, _hidden(network), 0.0)
    same = torch.allclose(network.prompts, prompts_ND.to(network.prompts), rtol=0, atol=1e-6)
    return _of_residual(network) if same else None


def _of_residual(network: Residual) -> LastLayer:
    def own(vectors_BD: Tensor) -> Tensor:
        return vectors_BD - (vectors_BD @ network.shared)[:, None] * network.shared

    linear, scale = network.linear, float(network.scale)
    if network.layers is None:
        return LastLayer(linear.weight, linear.bias, own, scale)
    last, hidden = network.layers.last, _hidden(network.layers)

    def both(vectors_BD: Tensor) -> Tensor:
        own_BD = own(vectors_BD)
        return torch.cat([own_BD, hidden(own_BD)], dim=1)

    weights_NF = torch.cat([linear.weight, last.weight], dim=1)
    return LastLayer(weights_NF, linear.bias + last.bias, both, scale)


def _hidden(network: FeedForward) -> Callable[[Tensor], Tensor]:
    def hidden(vectors_BD: Tensor) -> Tensor:
        hidden_BH = vectors_BD
        for layer in (network.first, network.second, network.third):
            if layer is not None:
                hidden_BH = F.relu(layer(hidden_BH))
        return hidden_BH

    return hidden
