"""Figures of many captions: coverage, diversity, length and hidden positives, label by label.

Memory grows with the label set, not with the captions: lengths are counted in a table, diversity
is taken of a sample, rare hidden positives are forgotten.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from taistore.labels import LabelSet
from taistore.texts.language.noun_filter import tokens

if TYPE_CHECKING:
    import polars

SAMPLE_TEXTS = 50
"""Texts that distinct-n is taken of, those with the smallest ids: it falls with their number."""

_LENGTHS = 256
_PAIRS_KEPT, _PAIRS_MOST = 64, 256


class Seen(NamedTuple):
    """One caption with what the audit found: labels asked for, mentioned, and others of the set."""

    text_id: str
    text: str
    label_ids: tuple[int, ...]
    mentioned: tuple[int, ...]
    others: tuple[int, ...]
    writer: str
    tokens: int | None
    reduced: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What is known of a group of captions.

    ``coverage`` is the share of (caption, label) pairs in which the caption mentions the label,
    ``complete`` that of captions that mention all of theirs; ``reduced`` captions are kept for
    fewer labels than a model was asked for. ``distinct_1`` and ``distinct_2`` are
    different words and word pairs over all of them, in at most ``SAMPLE_TEXTS`` captions.
    ``tokens_p95`` is the 95th percentile, ``over_limit`` how many exceed the encoder's context.
    ``hidden`` names the other labels that were mentioned most, with how many captions do.
    """

    texts: int
    coverage: float
    complete: float
    distinct_1: float
    distinct_2: float
    tokens_mean: float | None
    tokens_p95: int | None
    over_limit: int
    reduced: int
    hidden_texts: int
    hidden: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditReport:
    """Figures of all captions, by writer ("writer model") and by label, and what was rejected.

    ``labels`` has one entry for each label in ``label_id`` order; those of a label count its own
    captions. ``rejects`` counts reasons, ``examples`` holds some of each.
    """

    total: Figures
    writers: Mapping[str, Figures]
    labels: Sequence[tuple[str, str, Figures]]
    rejects: Mapping[str, int]
    examples: Mapping[str, Sequence[str]]
    unlabelled: int = 0

    def frame(self) -> "polars.DataFrame":
        """One row a label, in ``label_id`` order: key, name and its :class:`Figures`.

        ``hidden`` is left out: it maps names to counts.
        """
        import polars

        names = [f.name for f in fields(Figures) if f.name != "hidden"]
        rows = [
            {"key": key, "name": name, **{n: getattr(figures, n) for n in names}}
            for key, name, figures in self.labels
        ]
        return polars.DataFrame(
            rows, schema_overrides={"tokens_mean": polars.Float64, "tokens_p95": polars.Int64}
        )


@dataclass(slots=True)
class _Tally:
    """Running counts of one group."""

    texts: int = 0
    wanted: int = 0
    found: int = 0
    complete: int = 0
    reduced: int = 0
    hidden_texts: int = 0
    hidden: Counter[int] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)
    sample: list[tuple[int, str]] = field(default_factory=list)

    def add(self, seen: Seen, wanted: int, found: int, *, sample: int) -> None:
        self.texts += 1
        self.wanted += wanted
        self.found += found
        self.complete += wanted == found
        self.reduced += seen.reduced
        if seen.tokens is not None:
            self.lengths[min(seen.tokens, _LENGTHS)] += 1
        if seen.others:
            self.hidden_texts += 1
            self.hidden.update(seen.others)
            if len(self.hidden) > _PAIRS_MOST:
                self.hidden = Counter(dict(self.hidden.most_common(_PAIRS_KEPT)))
        # Ids are hashes, so the smallest are a sample; negated, the largest falls off first.
        entry = (-int(seen.text_id, 16), seen.text)
        if len(self.sample) < sample:
            heapq.heappush(self.sample, entry)
        elif entry > self.sample[0]:
            heapq.heapreplace(self.sample, entry)

    def figures(self, labels: LabelSet, limit: int | None) -> Figures:
        lengths = np.array(sorted(self.lengths.elements()), dtype=np.int64)
        one, two = distinct([text for _, text in self.sample])
        return Figures(
            texts=self.texts,
            coverage=self.found / self.wanted if self.wanted else 0.0,
            complete=self.complete / self.texts if self.texts else 0.0,
            distinct_1=one,
            distinct_2=two,
            tokens_mean=float(lengths.mean()) if len(lengths) else None,
            tokens_p95=int(np.quantile(lengths, 0.95, method="higher")) if len(lengths) else None,
            over_limit=sum(n for size, n in self.lengths.items() if limit and size > limit),
            reduced=self.reduced,
            hidden_texts=self.hidden_texts,
            hidden={labels[i].name: n for i, n in self.hidden.most_common(5)},
        )


def distinct(texts: Iterable[str]) -> tuple[float, float]:
    """Different words over words, and different word pairs over pairs, 0 to 1 (Li et al. 2016).

    >>> distinct(["a dog", "a cat"])
    (0.75, 1.0)
    """
    words: list[str] = []
    pairs: list[tuple[str, str]] = []
    for text in texts:
        said = tokens(text)
        words += said
        pairs += pairwise(said)
    return len(set(words)) / max(len(words), 1), len(set(pairs)) / max(len(pairs), 1)


class ReportBuilder:
    """Tallies of everything, of each writer and of each label."""

    def __init__(self, labels: LabelSet, limit: int | None) -> None:
        self._labels, self._limit = labels, limit
        self._total = _Tally()
        self._writers: dict[str, _Tally] = {}
        self._by_label: dict[int, _Tally] = {}
        self.rejects: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}
        self.unlabelled = 0

    def add(self, seen: Seen) -> None:
        """Count a caption."""
        wanted, found = len(seen.label_ids), len(seen.mentioned)
        for tally in (self._total, self._writers.setdefault(seen.writer, _Tally())):
            tally.add(seen, wanted, found, sample=SAMPLE_TEXTS)
        for i in seen.label_ids:
            own = self._by_label.setdefault(i, _Tally())
            own.add(seen, 1, int(i in seen.mentioned), sample=SAMPLE_TEXTS)

    def reject(self, reason: str, detail: str, *, examples: int) -> None:
        """Count a caption that was set aside; ``examples`` of a reason are kept."""
        self.rejects[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < examples:
            kept.append(detail)

    def finish(self) -> AuditReport:
        """The figures of everything that was counted."""
        labels, limit = self._labels, self._limit
        return AuditReport(
            total=self._total.figures(labels, limit),
            writers={
                name: tally.figures(labels, limit) for name, tally in sorted(self._writers.items())
            },
            labels=[
                (label.key, label.name, self._by_label.get(i, _Tally()).figures(labels, limit))
                for i, label in enumerate(labels)
            ],
            rejects=dict(self.rejects.most_common()),
            examples=self.examples,
            unlabelled=self.unlabelled,
        )
