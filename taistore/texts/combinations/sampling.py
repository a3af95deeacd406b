"""Seeded sampling of label combinations: the same prefix of the same sample at any count.

Shapes: T texts, C combinations, M the largest combination size, N labels.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from taistore.errors import TextError
from taistore.labels import LabelSet
from taistore.texts.combinations.affinity import Affinity
from taistore.texts.combinations.dealing import (
    PAD,
    Block,
    Combinations,
    Deal,
    Int32,
    Int64,
    dealer,
)
from taistore.texts.combinations.growth import Growth

DEFAULT_SIZES: Mapping[int, float] = {1: 1.0, 2: 1.0, 3: 1.0}
"""Relative frequency of combinations of 1, 2 and 3 labels (arXiv:2312.04160, section 3.1)."""

_BLOCK = 4096
"""Combinations that are Python's lists at once."""

DEFAULT_TEXTS_PER_COMBINATION = 5
"""With one text per combination Eq. 8-10 would erase the text: its centroid is the text itself."""


@dataclass(frozen=True, slots=True)
class Balance:
    """How evenly texts spread over labels: texts per label, deviation and Gini coefficient.

    The Gini coefficient is 0 where every label has as many texts, towards 1 where one has all.
    """

    labels: int
    minimum: int
    maximum: int
    mean: float
    deviation: float
    gini: float

    @classmethod
    def of(cls, counts: Int64) -> "Balance":
        """From the texts of each label [N]."""
        counts = np.sort(counts)
        total, n = float(counts.sum()), len(counts)
        ranks = np.arange(1, n + 1)
        gini = (2.0 * float(ranks @ counts) / (n * total) - (n + 1) / n) if total else 0.0
        return cls(
            labels=n,
            minimum=int(counts[0]),
            maximum=int(counts[-1]),
            mean=float(counts.mean()),
            deviation=float(counts.std()),
            gini=gini,
        )


@dataclass(frozen=True, slots=True)
class CombinationSample:
    """What to write: text ``t`` is turn ``turn[t]`` [T] of combination ``combination[t]`` [T].

    ``label_ids`` [C, M] holds ascending label ids, padded with -1 behind them; combinations are in
    the order in which they were first drawn.
    """

    label_ids: Int32
    combination: Int32
    turn: Int32
    texts_per_combination: int
    label_count: int

    def __len__(self) -> int:
        return len(self.combination)

    def labels_of(self, combination: int) -> tuple[int, ...]:
        """The label ids of a combination (a row of ``label_ids``), ascending."""
        row = self.label_ids[combination]
        return tuple(int(i) for i in row[row != PAD])

    def combinations(self) -> Iterator[tuple[int, ...]]:
        """The label ids of every combination."""
        for low in range(0, len(self.label_ids), _BLOCK):
            for row in self.label_ids[low : low + _BLOCK].tolist():
                yield tuple(i for i in row if i != PAD)

    def texts_per_label(self) -> Int64:
        """How many texts name each label [N]."""
        per_combination = np.bincount(self.combination, minlength=len(self.label_ids))
        named = self.label_ids != PAD
        weights = np.broadcast_to(per_combination[:, None], named.shape)[named]
        counts = np.bincount(
            self.label_ids[named], weights=weights.astype(np.float64), minlength=self.label_count
        )
        return counts.astype(np.int64)


def sample_combinations(
    labels: LabelSet,
    *,
    count: int,
    sizes: Mapping[int, float] = DEFAULT_SIZES,
    texts_per_combination: int = DEFAULT_TEXTS_PER_COMBINATION,
    min_per_label: int = 1,
    seed: int = 0,
    combinations: Combinations = "balanced",
    affinity: Affinity | None = None,
    growth: Growth | None = None,
) -> CombinationSample:
    """Draw combinations for ``count`` texts; a smaller count gives a prefix of the same sample.

    ``sizes`` maps how many labels a combination has to its relative frequency; sizes beyond the
    label set are left out. Each draw becomes ``texts_per_combination`` texts; a combination drawn
    again goes on with its next turns.

    "balanced" deals labels in rounds, each a shuffle of the whole set, so that counts differ by
    little more than a round. "uniform" draws every combination of a size equally often (section
    3.1 of arXiv:2312.04160). "plausible" deals each combination's first label in rounds and draws
    the others by ``affinity`` to those there: every label comes first equally often.

    With ``growth`` what was drawn before labels came or went stays as it is, and each label is
    named about as often as if it had been there from the start, so that ``count`` texts and the
    combinations of new labels are more than ``count``; "plausible" combinations are drawn anew.

    Raises :class:`TextError` where a setting is out of range, or where ``count`` texts leave a
    label with fewer than ``min_per_label``: the message names the count that is enough.
    """
    if growth is not None and (growth.is_none or combinations == "plausible"):
        growth = None
    first = len(labels) if growth is None else int((growth.addition == 0).sum())
    usable = _usable_sizes(sizes, first)
    deal_block = dealer(combinations, usable, first, affinity)
    for name, value, least in (
        ("count", count, 1),
        ("texts_per_combination", texts_per_combination, 1),
        ("min_per_label", min_per_label, 0),
        ("seed", seed, 0),
    ):
        if value < least:
            raise TextError(f"{name} is {value}: it must be at least {least}")
    draws = -(-count // texts_per_combination)
    if growth is not None:
        grown = functools.partial(
            _grown, growth, deal_block, usable, n=texts_per_combination, seed=seed
        )
        sample = grown(draws)
        enough = functools.partial(_enough_grown, grown, draws, min_per_label)
        _check_coverage(sample, labels, min_per_label, enough)
        return sample
    deal = Deal(deal_block, len(labels), seed)
    sample = _number(deal.first(draws), count, texts_per_combination, len(labels))
    enough = functools.partial(_enough, deal, count, texts_per_combination, min_per_label)
    _check_coverage(sample, labels, min_per_label, enough)
    return sample


def _usable_sizes(sizes: Mapping[int, float], label_count: int) -> dict[int, float]:
    for size, weight in sizes.items():
        if size < 1 or not (0 <= weight < float("inf")):
            raise TextError(
                f"combination size {size} with weight {weight}: sizes must be at least 1, "
                "weights finite and not negative"
            )
    usable = {s: w for s, w in sorted(sizes.items()) if w > 0 and s <= label_count}
    if not usable:
        raise TextError(
            f"no combination size in {dict(sizes)} fits a set of {label_count} labels: "
            "give at least one size up to that number"
        )
    return usable


def _number(
    rows: Int32, count: int, texts_per_combination: int, label_count: int
) -> CombinationSample:
    """Give equal draws one number, in order of first appearance, and count each one's turns."""
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.reshape(-1)
    appearance = np.empty(len(first), dtype=np.int64)
    appearance[np.argsort(first, kind="stable")] = np.arange(len(first))
    combination = appearance[inverse]
    by_combination = np.argsort(combination, kind="stable")
    sorted_ids = combination[by_combination]
    starts = np.flatnonzero(np.r_[True, sorted_ids[1:] != sorted_ids[:-1]])
    occurrence = np.empty(len(rows), dtype=np.int64)
    run_lengths = np.diff(np.r_[starts, len(rows)])
    occurrence[by_combination] = np.arange(len(rows)) - np.repeat(starts, run_lengths)
    n = texts_per_combination
    turn = (occurrence[:, None] * n + np.arange(n)).reshape(-1)[:count]
    return CombinationSample(
        label_ids=np.ascontiguousarray(rows[np.sort(first)]),
        combination=np.repeat(combination, n)[:count].astype(np.int32),
        turn=turn.astype(np.int32),
        texts_per_combination=n,
        label_count=label_count,
    )


def _check_coverage(
    sample: CombinationSample, labels: LabelSet, min_per_label: int, enough: Callable[[], int]
) -> None:
    """Raise :class:`TextError` where a label has fewer texts; ``enough`` reckons how many do."""
    counts = sample.texts_per_label()
    short = int((counts < min_per_label).sum())
    if not short:
        return
    n = sample.texts_per_combination
    worst = labels[int(np.argmin(counts))].name
    raise TextError(
        f"{len(sample):,} texts leave {short:,} of {len(labels):,} labels with fewer than "
        f"{min_per_label} (such as {worst!r}): ask for {enough():,} texts, fewer texts per "
        f"combination than {n}, or a smaller minimum"
    )


def _grown(
    growth: Growth, first: Block, sizes: Mapping[int, float], draws: int, *, n: int, seed: int
) -> CombinationSample:
    """``n`` texts for each draw of a label set that has grown."""
    rows = growth.rows(first, sizes, draws=draws, seed=seed)
    return _number(rows, len(rows) * n, n, int((growth.column_of >= 0).sum()))


def _enough_grown(grown: Callable[[int], CombinationSample], draws: int, min_per_label: int) -> int:
    """Texts to ask for so that every label of a grown set has ``min_per_label``."""
    while (sample := grown(draws)).texts_per_label().min() < min_per_label:
        draws *= 2
    return draws * sample.texts_per_combination


def _enough(deal: Deal, count: int, n: int, min_per_label: int) -> int:
    """Texts after which every label has ``min_per_label``, rounded up to whole draws."""
    times = -(-min_per_label // n)
    draws = max(times * deal.label_count, -(-count // n))
    # A round of a balanced deal names every label; at random it takes longer, so look further.
    while True:
        rows = deal.first(draws)
        draw, named = np.nonzero(rows != PAD)
        label = rows[draw, named]
        if np.bincount(label, minlength=deal.label_count).min() >= times:
            break
        draws *= 2
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(deal.label_count))
    return (int(draw[order][starts + times - 1].max()) + 1) * n
