"""The 1-cycle policy (Smith 2018) as a function of the step, so that resuming needs no state."""

import math

WARM_SHARE = 0.3
START_DIVISOR = 25.0
END_DIVISOR = 1e4
MOMENTUM = (0.85, 0.95)


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


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))
