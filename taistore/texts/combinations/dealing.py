"""How combinations of labels are drawn: dealt in rounds, uniformly, or by what goes together.

Shapes: M the largest combination size, N labels, G draws of a block, R rounds.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from taistore.errors import TextError
from taistore.texts.combinations.affinity import Affinity

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]

Combinations = Literal["uniform", "balanced", "plausible"]
COMBINATIONS: tuple[Combinations, ...] = ("uniform", "balanced", "plausible")
"""How labels are put together: any with any (the paper's), all labels equally often, or each
label equally often with those that go with it."""

_BLOCK_LABELS = 1 << 14
PAD = -1
_REDRAWS = 16


Block = Callable[[np.random.Generator], Int32]
"""Draws a block of combinations [G, M], in any order of labels, padded with -1."""


@dataclass(frozen=True, slots=True)
class Deal:
    """An endless row of combinations: block after block, each from a generator of its own."""

    block: Block
    label_count: int
    seed: int

    def first(self, draws: int) -> Int32:
        """The first ``draws`` combinations [draws, M], labels ascending, padded with -1."""
        blocks: list[Int32] = []
        dealt = 0
        while dealt < draws:
            blocks.append(self.block(np.random.default_rng((self.seed, len(blocks)))))
            dealt += len(blocks[-1])
        rows = np.concatenate(blocks)[:draws]
        # Pads sort behind every label, then become -1 again.
        rows = np.sort(np.where(rows == PAD, self.label_count, rows), axis=1).astype(np.int32)
        return np.where(rows == self.label_count, np.int32(PAD), rows)


def dealer(
    combinations: Combinations,
    sizes: Mapping[int, float],
    label_count: int,
    affinity: Affinity | None,
) -> Block:
    """What draws the blocks; raises :class:`TextError` on another way or a missing affinity."""
    if combinations not in COMBINATIONS:
        raise TextError(
            f"combinations is {combinations!r}: it must be one of {', '.join(COMBINATIONS)}"
        )
    if combinations == "balanced":
        return lambda random: _deal_block(label_count, sizes, random)
    if combinations == "uniform":
        return lambda random: _uniform_block(label_count, sizes, random)
    if affinity is None or len(affinity) != label_count:
        raise TextError(
            "plausible combinations need the labels' affinity: give that of the store's labels"
        )
    return lambda random: _plausible_block(affinity, sizes, random)


def _draw_sizes(
    sizes: Mapping[int, float], random: np.random.Generator, shape: tuple[int, ...]
) -> Int64:
    weights = np.array(list(sizes.values()))
    choices = np.array(list(sizes), dtype=np.int64)
    return random.choice(choices, p=weights / weights.sum(), size=shape)


def _deal_block(label_count: int, sizes: Mapping[int, float], random: np.random.Generator) -> Int32:
    """A fixed number of rounds, of about ``_BLOCK_LABELS`` labels in all, from its own generator.

    A round shuffles the labels and cuts them into combinations; the last one borrows what it
    lacks from the front of the same round, so no label meets itself.
    """
    rounds = max(1, _BLOCK_LABELS // label_count)
    order_RN = random.permuted(
        np.broadcast_to(np.arange(label_count, dtype=np.int32), (rounds, label_count)), axis=1
    )
    most = -(-label_count // min(sizes))
    size_RG = _draw_sizes(sizes, random, (rounds, most))
    begin_RG = np.cumsum(size_RG, axis=1) - size_RG
    round_G, group_G = np.nonzero(begin_RG < label_count)
    begin_G, size_G = begin_RG[round_G, group_G], size_RG[round_G, group_G]
    place_M = np.arange(max(sizes))
    taken_GM = order_RN[round_G[:, None], (begin_G[:, None] + place_M) % label_count]
    return np.where(place_M < size_G[:, None], taken_GM, np.int32(PAD))


def _uniform_block(
    label_count: int, sizes: Mapping[int, float], random: np.random.Generator
) -> Int32:
    """``_BLOCK_LABELS`` draws: every combination of a size is as likely as any other."""

    def anyone(rows_GM: Int32) -> Int32:
        return random.integers(label_count, size=len(rows_GM), dtype=np.int32)

    anchor_G = random.integers(label_count, size=_BLOCK_LABELS, dtype=np.int32)
    return with_partners(anchor_G, sizes, label_count, anyone, random)


def _plausible_block(
    affinity: Affinity, sizes: Mapping[int, float], random: np.random.Generator
) -> Int32:
    """Rounds over all labels, about ``_BLOCK_LABELS`` draws in all."""
    label_count = len(affinity)

    def partner(rows_GM: Int32) -> Int32:
        # Any label that is there may bring the next: a mixture of their partners.
        there_G = (rows_GM != PAD).sum(axis=1)
        pick_G = (random.random(len(rows_GM)) * there_G).astype(np.int64)
        return affinity.draw(rows_GM[np.arange(len(rows_GM)), pick_G], random)

    rounds = max(1, _BLOCK_LABELS // label_count)
    order_RN = random.permuted(
        np.broadcast_to(np.arange(label_count, dtype=np.int32), (rounds, label_count)), axis=1
    )
    return with_partners(order_RN.reshape(-1), sizes, label_count, partner, random)


def with_partners(
    anchor_G: Int32,
    sizes: Mapping[int, float],
    label_count: int,
    partner: Callable[[Int32], Int32],
    random: np.random.Generator,
) -> Int32:
    """Combinations [G, M] that begin with these labels; no label twice in one."""
    size_G = _draw_sizes(sizes, random, (len(anchor_G),))
    rows_GM = np.full((len(anchor_G), max(sizes)), PAD, dtype=np.int32)
    rows_GM[:, 0] = anchor_G
    for place in range(1, max(sizes)):
        wanting = np.flatnonzero(size_G > place)
        for _ in range(_REDRAWS):
            if not len(wanting):
                break
            drawn = partner(rows_GM[wanting])
            taken = (rows_GM[wanting] == drawn[:, None]).any(axis=1)
            rows_GM[wanting[~taken], place] = drawn[~taken]
            wanting = wanting[taken]
        for row in wanting:
            free = np.setdiff1d(np.arange(label_count), rows_GM[row])
            rows_GM[row, place] = random.choice(free)
    return rows_GM
