"""Weights and floating-point operations of a network's forward pass, by two rules.

Networks may lie on the meta device: only shapes are looked at. A multiply-add is two operations.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_BATCH_NORM = 4
"""Multiply-adds a value of a batch normalisation, as the counter thop 0.1.1 has them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Weights, and operations of one forward pass."""

    parameters: int
    flops: int

    def __add__(self, other: "Cost") -> "Cost":
        """Two networks, one after the other."""
        return Cost(parameters=self.parameters + other.parameters, flops=self.flops + other.flops)

    def times(self, passes: int) -> "Cost":
        """So many passes through the same weights."""
        return Cost(parameters=self.parameters, flops=self.flops * passes)


def full_cost(parameters: int, forward: Callable[[], object]) -> Cost:
    """All matrix products and convolutions of ``forward``, attention's too."""
    with FlopCounterMode(display=False) as counter:
        forward()
    return Cost(parameters=parameters, flops=counter.get_total_flops())


def layer_cost(network: nn.Module, forward: Callable[[], object]) -> Cost:
    """What a counter sees that hooks layers of known types: thop 0.1.1, its figures doubled.

    Linear maps, convolutions, batch norms and average pools of ``network`` that ``forward`` calls
    as modules; so no embedding, no layer norm of CLIP, none of the matrices inside attention.
    """
    layers = [m for m in network.modules() if type(m) in _MULTIPLY_ADDS]
    called: dict[nn.Module, None] = {}
    multiply_adds = 0

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        nonlocal multiply_adds
        called[layer] = None
        multiply_adds += output.numel() * _MULTIPLY_ADDS[type(layer)](layer)

    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        forward()
    finally:
        for hook in hooks:
            hook.remove()
    return Cost(parameters=sum(map(weights, called)), flops=2 * multiply_adds)


def weights(network: nn.Module) -> int:
    """Trainable or frozen numbers of a network, each once."""
    return sum(parameter.numel() for parameter in network.parameters())


_MULTIPLY_ADDS: dict[type[nn.Module], Callable[[Any], int]] = {
    nn.Linear: lambda layer: int(layer.in_features),
    nn.Conv2d: lambda layer: int(layer.weight[0].numel()),
    nn.BatchNorm2d: lambda layer: _BATCH_NORM,
    nn.AvgPool2d: lambda layer: 1,
}
"""Of one value of a layer's output."""
