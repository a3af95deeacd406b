"""AdamW and SGD, and their learning rates as functions of the step: resuming needs no state.

The rates are the 1-cycle policy (Smith 2018), and a cosine after a constant warm-up.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

SECOND_BETA, EPSILON = 0.999, 1e-8
"""What AdamW is known with; the first beta is the momentum of the 1-cycle."""

WARM_SHARE = 0.3
START_DIVISOR = 25.0
END_DIVISOR = 1e4
MOMENTUM = (0.85, 0.95)
_FIRST, _SECOND, _BUFFER = "exp_avg.", "exp_avg_sq.", "momentum."


def one_cycle(step: int, total: int, max_lr: float) -> tuple[float, float]:
    """Learning rate and momentum (Adam's first beta) of step 0 … ``total`` - 1.

    Cosine up to ``max_lr`` over the first 30 %, then down to nearly nothing; the momentum runs
    the other way. The same values as ``torch.optim.lr_scheduler.OneCycleLR``.
    """
    top = WARM_SHARE * total - 1
    low, high = MOMENTUM
    start = max_lr / START_DIVISOR
    if step <= top:
        share = step / top
        return _cosine(start, max_lr, share), _cosine(high, low, share)
    share = (step - top) / max(total - 1 - top, 1e-12)
    return _cosine(max_lr, start / END_DIVISOR, share), _cosine(low, high, share)


def warm_cosine(epoch: int, *, epochs: int, lr: float, warm: int, warm_lr: float) -> float:
    """Learning rate of an epoch: ``warm_lr`` in the first ``warm``, then down from ``lr``.

    As CoOp and its successors train: the cosine is one over all ``epochs``, begins behind the warm
    ones, and so does not quite reach 0.
    """
    if epoch < warm:
        return warm_lr
    return _cosine(lr, 0.0, (epoch - warm) / epochs)


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))


@dataclass(slots=True)
class Moments:
    """What AdamW knows of one weight: running means of its gradient and of the square, and steps.

    ``steps`` is a number in a tensor.
    """

    first: torch.Tensor
    second: torch.Tensor
    steps: torch.Tensor


def first_moments(weight: torch.Tensor) -> Moments:
    """Those of a weight that has not moved."""
    steps = torch.zeros((), dtype=torch.float32, device=weight.device)
    return Moments(torch.zeros_like(weight), torch.zeros_like(weight), steps)


class AdamW:
    """The weights of a network and their moments, by name; those of a weight come with its step.

    Steps are those of ``torch.optim.AdamW(fused=True)``, bit by bit. That class loads torch's
    compiler, which nothing here uses: 150 MiB and two seconds.
    """

    def __init__(self, network: nn.Module, *, weight_decay: float) -> None:
        self.weights = dict(network.named_parameters())
        self.moments: dict[str, Moments] = {}
        self._weight_decay = weight_decay

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self.weights.values():
            weight.grad = None

    @torch.no_grad()
    def step(self, *, lr: float, momentum: float) -> None:
        """Move every weight that has a gradient."""
        named = {name: weight.grad for name, weight in self.weights.items()}
        gradients = {name: grad for name, grad in named.items() if grad is not None}
        moments = [self._moments(name) for name in gradients]
        self.fused(
            [self.weights[name] for name in gradients],
            list(gradients.values()),
            moments,
            lr=lr,
            momentum=momentum,
        )

    def fused(
        self,
        weights: list[torch.Tensor],
        gradients: list[torch.Tensor],
        moments: Sequence[Moments],
        *,
        lr: float,
        momentum: float,
    ) -> None:
        """Move weights and moments in place, all in one pass: AdamW without its bookkeeping."""
        adamw(
            weights,
            gradients,
            [known.first for known in moments],
            [known.second for known in moments],
            [],
            [known.steps for known in moments],
            fused=True,
            amsgrad=False,
            beta1=momentum,
            beta2=SECOND_BETA,
            lr=lr,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """Both moments of every weight that was moved."""
        return {
            prefix + name: value
            for name, known in self.moments.items()
            for prefix, value in ((_FIRST, known.first), (_SECOND, known.second))
        }

    def put_back(self, tensors: Mapping[str, torch.Tensor], *, steps: int) -> None:
        """Moments after so many steps, on the devices of the weights."""
        for name, weight in self.weights.items():
            if _FIRST + name in tensors:
                first, second = (tensors[p + name].to(weight.device) for p in (_FIRST, _SECOND))
                done = torch.tensor(float(steps), device=weight.device)
                self.moments[name] = Moments(first, second, done)

    def _moments(self, name: str) -> Moments:
        if name not in self.moments:
            self.moments[name] = first_moments(self.weights[name])
        return self.moments[name]


class SGD:
    """Stochastic gradient descent with momentum and weight decay, as ``torch.optim.SGD``."""

    def __init__(self, network: nn.Module, *, momentum: float, weight_decay: float) -> None:
        self.weights = dict(network.named_parameters())
        self.buffers: dict[str, torch.Tensor] = {}
        self._momentum = momentum
        self._weight_decay = weight_decay

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for weight in self.weights.values():
            weight.grad = None

    @torch.no_grad()
    def step(self, *, lr: float) -> None:
        """Move every weight that has a gradient."""
        named = {name: weight.grad for name, weight in self.weights.items()}
        gradients = {name: grad for name, grad in named.items() if grad is not None}
        buffers = [self.buffers.get(name) for name in gradients]
        sgd(
            [self.weights[name] for name in gradients],
            list(gradients.values()),
            buffers,
            weight_decay=self._weight_decay,
            momentum=self._momentum,
            lr=lr,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        made = zip(gradients, buffers, strict=True)
        self.buffers |= {name: buffer for name, buffer in made if buffer is not None}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The momentum of every weight that was moved."""
        return {_BUFFER + name: value for name, value in self.buffers.items()}

    def put_back(self, tensors: Mapping[str, torch.Tensor], *, steps: int) -> None:
        """The momentum after any number of steps, on the devices of the weights."""
        del steps
        for name, weight in self.weights.items():
            if _BUFFER + name in tensors:
                self.buffers[name] = tensors[_BUFFER + name].to(weight.device)
