"""Two or more pieces of work, measured in turn within one process."""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Cost(NamedTuple):
    """Seconds: of this process's processors (all threads), and of the clock."""

    cpu: float
    wall: float


def costs(
    pieces: Mapping[str, Callable[[], object]], *, rounds: int, warm: bool = True
) -> dict[str, Cost]:
    """Median cost of each piece over ``rounds``, in which they take turns.

    A busy machine then disturbs all alike. With ``warm`` each runs once before.
    """
    if warm:
        for piece in pieces.values():
            piece()
    taken: dict[str, list[Cost]] = {name: [] for name in pieces}
    for _ in range(rounds):
        for name, piece in pieces.items():
            gc.collect()
            cpu, wall = time.process_time(), time.perf_counter()
            piece()
            taken[name].append(Cost(time.process_time() - cpu, time.perf_counter() - wall))
    return {
        name: Cost(*(statistics.median(values) for values in zip(*found, strict=True)))
        for name, found in taken.items()
    }


def apart(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` returns, run in a fresh process, whose memory is then its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()
