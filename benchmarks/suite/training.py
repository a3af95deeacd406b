"""What a training step costs against the number of labels, ours and a prompt learner's.

Of more than 1,000 labels our step looks at a sample: in the full form also whether tags of real
photos under 7,186 labels stay as good.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.suite.many_labels import DATA, LABELS, maps, prepared
from benchmarks.suite.rows import Row, at_least, at_most
from benchmarks.suite.turns import apart, costs
from taistore.adapter.config import SAMPLED_LABELS, TrainConfig
from taistore.adapter.freed_memory import keep_large_blocks_apart
from taistore.reproduction.without_data.label_growth import (
    BATCH,
    LEARNERS,
    OPENIMAGES,
    adapter_step,
    step_cost,
)

OURS = "taistore's default"
SEEDS = (0, 1)
_SAMPLES = 4096
"""Texts of a turn: after a single step of one size the next would find its own out of the cache."""


def answer(work: Path, *, full: bool) -> Iterator[Row]:
    """Against prompt tuning, then against fewer labels."""
    for learner in tuple(LEARNERS) if full else ("CoOp",):
        yield from _against(learner, (20, 80, 400, 1000) if full else (80,))
    sizes = (20, 80, 400, 1000, OPENIMAGES, 20_000) if full else (80, OPENIMAGES, 20_000)
    rounds = 15 if full else 9
    yield from _growth(None, sizes, rounds=rounds)
    for batch in (64, 128, 1024) if full else (1024,):
        yield from _growth(batch, sizes, rounds=rounds)
    if full:
        yield from _equal_map(work)


def _equal_map(work: Path) -> Iterator[Row]:
    if not DATA.is_dir():
        print(f"training: {DATA} is absent: mAP is not measured", file=sys.stderr)
        return
    project, photos = prepared(work)
    ours, exact = (
        maps(project, photos, seeds=SEEDS, sampled_labels=size) for size in (SAMPLED_LABELS, 0)
    )
    for name in photos:
        yield at_least(
            f"training: macro mAP on {name}, {LABELS:,} labels, {SAMPLED_LABELS} sampled a step "
            f"and all, {len(SEEDS)} seeds; the ratio is the difference",
            ours=ours[name],
            other=exact[name],
            ratio=ours[name] - exact[name],
            target=-0.3,
        )


def _against(learner: str, sizes: tuple[int, ...]) -> Iterator[Row]:
    """Time and memory of a step beside a prompt learner's; each side in a process of its own."""
    for labels in sizes:
        ours, theirs = (apart(step_cost, name, labels, "cpu") for name in (OURS, learner))
        yield at_least(
            f"training: CPU s a step, {labels:,} labels, batch {BATCH}, {learner} over ours",
            ours=ours.seconds,
            other=theirs.seconds,
            ratio=theirs.seconds / ours.seconds,
            target=_target(labels),
        )
        yield at_least(
            f"training: bytes a step holds, {labels:,} labels, batch {BATCH}, {learner} over ours",
            ours=ours.bytes,
            other=theirs.bytes,
            ratio=theirs.bytes / ours.bytes,
            target=100,
        )
    many = apart(step_cost, OURS, OPENIMAGES, "cpu")
    drawn_out = theirs.seconds * OPENIMAGES / sizes[-1]
    yield at_least(
        f"training: CPU s a step, {OPENIMAGES:,} labels, batch {BATCH}, {learner} over ours; "
        f"{learner}'s NOT MEASURED: its step at {sizes[-1]:,} in proportion to the labels",
        ours=many.seconds,
        other=drawn_out,
        ratio=drawn_out / many.seconds,
        target=_target(OPENIMAGES),
    )


def _target(labels: int) -> float:
    """1,500 times at 80 labels and 30,000 at OpenImages'; in proportion below, a line between."""
    if labels <= 80:
        return 1500 * labels / 80
    return 1500 + (30_000 - 1500) * (labels - 80) / (OPENIMAGES - 80)


def _growth(batch: int | None, sizes: tuple[int, ...], *, rounds: int) -> Iterator[Row]:
    """CPU seconds a sample beside those at 80 labels, some steps of each in turn.

    ``batch`` None: that which a training takes where nobody says otherwise.
    """
    keep_large_blocks_apart()  # as every training does
    texts = {n: batch or TrainConfig().settled_for(n).texts_of_a_step for n in sizes}
    turns = {str(n): _turn(_made(n, texts[n]), steps=_SAMPLES // texts[n]) for n in sizes}
    found = {
        int(name): cost.cpu / (_SAMPLES // texts[int(name)] * texts[int(name)])
        for name, cost in costs(turns, rounds=rounds).items()
    }
    for size in sizes:
        if size > 80:
            how = f"of batch {batch:,}" if batch else f"by default (batch {texts[size]:,}, 80: 128)"
            yield at_most(
                f"training: CPU s a sample, our step {how}, {size:,} labels over 80",
                ours=found[size],
                other=found[80],
                ratio=found[size] / found[80],
                target=1.5,
            )


def _turn(step: Callable[[], None], *, steps: int) -> Callable[[], None]:
    def turn() -> None:
        for _ in range(steps):
            step()

    return turn


def _made(labels: int, batch: int) -> Callable[[], None]:
    # Two positives a row, the texts of every step others.
    random = np.random.default_rng(0)
    first = random.integers(labels, size=(8, batch))
    second = (first + random.integers(1, labels, size=(8, batch))) % labels
    cells = np.arange(batch) * labels + np.sort(np.stack([first, second]), axis=0)
    flat = [torch.from_numpy(own.T.ravel()) for own in cells.transpose(1, 0, 2)]
    return adapter_step(OURS, labels, torch.device("cpu"), batch=batch, positives=flat)
