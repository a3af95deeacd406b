"""Which type of number a device multiplies fastest, asked of the device itself, once."""

import functools
import time

import torch

_SIZE = 512
_ROUNDS = 3
_WORTH = 1.3
"""How much faster bfloat16 must be: what rounding costs is paid in a few more candidates."""


@functools.lru_cache(maxsize=8)
def fast_type(device: torch.device) -> torch.dtype:
    """bfloat16 where products of it are measurably faster than of float32, else float32.

    A processor without units for bfloat16 emulates it, up to ten times slower. The answer is
    kept for the process.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if device.type != "cpu":
        return torch.float32
    both = (torch.float32, torch.bfloat16)
    seconds = {kind: _seconds(kind) for kind in both}
    faster = seconds[torch.float32] / seconds[torch.bfloat16]
    return torch.bfloat16 if faster >= _WORTH else torch.float32


def _seconds(kind: torch.dtype) -> float:
    """The best of a few products, in seconds of this thread."""
    left, right = (torch.ones(_SIZE, _SIZE, dtype=kind) for _ in range(2))
    out = torch.empty(_SIZE, _SIZE, dtype=kind)
    torch.mm(left, right, out=out)
    taken = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        torch.mm(left, right, out=out)
        taken.append(time.perf_counter() - began)
    return min(taken)
