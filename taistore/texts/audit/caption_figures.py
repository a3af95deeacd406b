"""Figures of many captions: coverage, diversity, length and hidden positives, label by label.

N labels, L lengths. Memory grows with the label set, not with the captions: lengths are counted in
a table, diversity is taken of a sample, rare hidden positives are forgotten.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from taistore.encoders.protocol import Encoder
from taistore.errors import LabelError, TextError
from taistore.labels import LabelSet
from taistore.progress import Progress, no_progress
from taistore.store.store import Store
from taistore.texts import generation
from taistore.texts.audit.caption_audit import Audit, FileAudit
from taistore.texts.ingest import ingest_texts as ingest
from taistore.texts.ingest.caption_files import BadLine, count_lines, read_captions
from taistore.texts.language.noun_filter import tokens
from taistore.texts.llm.requests import is_reduced
from taistore.texts.templates.template_writer import TemplateWriter
from taistore.texts.text_rows import text_id
from taistore.texts.token_lengths import length_check

SAMPLE_TEXTS = 50
"""Texts that distinct-n is taken of, those with the smallest ids: it falls with their number."""

_LENGTHS = 256
_PAIRS_KEPT, _PAIRS_MOST = 64, 256
_SCAN_ROWS = 8192
WRITERS = ("template", "openai", "vllm", ingest.WRITER)
_FILE, _TEMPLATE, _MODEL = "file", "template", "model"


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


class _Report:
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
        wanted, found = len(seen.label_ids), len(seen.mentioned)
        for tally in (self._total, self._writers.setdefault(seen.writer, _Tally())):
            tally.add(seen, wanted, found, sample=SAMPLE_TEXTS)
        for i in seen.label_ids:
            own = self._by_label.setdefault(i, _Tally())
            own.add(seen, 1, int(i in seen.mentioned), sample=SAMPLE_TEXTS)

    def reject(self, reason: str, detail: str, *, examples: int) -> None:
        self.rejects[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < examples:
            kept.append(detail)

    def finish(self) -> AuditReport:
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


def audit_store(
    store: Store, *, writer: str | None = None, examples: int = 3, progress: Progress = no_progress
) -> AuditReport:
    """Audit the texts of a store, or those of one writer, in one pass.

    Rejects are those that ``generate-texts`` and ``ingest-texts`` set aside, which tells language
    models (together), templates and files apart. Raises :class:`TextError` where there is no text
    to audit.
    """
    report = _Report(store.labels, _limit(store))
    where = {"writer": writer} if writer is not None else None
    with progress("audit", total=store.count("texts"), unit="texts") as bar:
        for seen in _stored(store, where):
            report.add(seen)
            bar.advance(1)
    for batch in store.scan("rejects", columns=["job", "uri", "reason", "detail"]):
        for row in batch.to_pylist():
            whose = _rejected_writer(row["job"], row["uri"])
            if whose is not None and (writer is None or _kind(writer) == whose):
                report.reject(row["reason"], row["detail"], examples=examples)
    found = report.finish()
    if not found.total.texts and (not found.rejects or writer not in (None, *WRITERS)):
        whose = f"texts by {writer!r}" if writer is not None else "texts"
        writers = sorted(_writers(store)) if writer is not None else []
        there = f"; there are some by {', '.join(writers)}" if writers else ""
        raise TextError(
            f"{store.uri}: holds no {whose} to audit{there}: make some with 'taistore "
            "generate-texts', or give a caption file"
        )
    return found


def _writers(store: Store) -> set[str]:
    batches = store.scan("texts", columns=["writer"], batch_rows=65536)
    return {str(name) for batch in batches for name in batch.column(0).unique().to_pylist()}


def audit_file(
    store: Store,
    path: str | Path,
    *,
    encoder: Encoder | None = None,
    examples: int = 3,
    progress: Progress = no_progress,
) -> AuditReport:
    """Audit a caption file as ``ingest_texts(…, audit=True)`` does; ``store`` is not changed.

    Captions with labels of their own are held against them, the others against the labels that
    they mention; those that mention none are ``unlabelled``. An ``encoder`` also measures lengths.
    Raises as ``read_captions`` does.
    """
    files = FileAudit(store.labels, limit=length_check(encoder) if encoder is not None else None)
    report = _Report(store.labels, encoder.info.context_length if encoder is not None else None)
    lines = read_captions(path)
    with progress("audit", total=count_lines(path), unit="lines") as bar:
        for line in lines:
            bar.advance(1)
            if isinstance(line, BadLine):
                report.reject(line.reason, f"line {line.line}: {line.detail}", examples=examples)
                continue
            try:
                named = line.labels
                asked = (
                    files.audit.mentions(line.text, ())[1]
                    if named is None
                    else tuple(sorted({store.labels.find(name) for name in named}))
                )
            except LabelError as error:
                report.reject("unknown_label", f"line {line.line}: {error}", examples=examples)
                continue
            if not asked:
                report.unlabelled += 1
                continue
            verdict = files.check(line.text, asked)
            if verdict.reason:
                detail = f"line {line.line}: {verdict.detail}"
                report.reject(verdict.reason, detail, examples=examples)
                continue
            report.add(
                Seen(
                    text_id(verdict.text, store.labels.combination_id(asked)),
                    verdict.text,
                    asked,
                    verdict.label_ids,
                    verdict.others,
                    path_writer(path),
                    files.audit.tokens(verdict.text),
                    verdict.label_ids != asked,
                )
            )
    found = report.finish()
    if not found.total.texts and not found.rejects and not found.unlabelled:
        raise TextError(f"{path}: no captions in it: put one on each line")
    return found


def path_writer(path: str | Path) -> str:
    """How a file is called among the writers."""
    return Path(path).name


def _rejected_writer(job: str, uri: str) -> str | None:
    """What kind of writer a row of ``rejects`` belongs to; None where it is about no text."""
    if job == ingest.JOB:
        return _FILE
    if job != generation.JOB:
        return None
    return _TEMPLATE if " " in uri else _MODEL


def _kind(writer: str) -> str:
    return {TemplateWriter.name: _TEMPLATE, ingest.WRITER: _FILE}.get(writer, _MODEL)


def _stored(store: Store, where: Mapping[str, str] | None) -> Iterator[Seen]:
    audit = Audit(store.labels)
    index = store.combination_index()
    columns = ["text_id", "combination_id", "text", "writer", "model", "tokens", "request_id"]
    for batch in store.scan("texts", columns=columns, where=where, batch_rows=_SCAN_ROWS):
        counts, flat = index.positives(batch.column("combination_id").to_numpy())
        ends = np.cumsum(counts).tolist()
        label_ids = flat.tolist()
        for row, end, count in zip(batch.to_pylist(), ends, counts.tolist(), strict=True):
            asked = tuple(label_ids[end - count : end])
            mentioned, others = audit.mentions(row["text"], asked)
            writer = f"{row['writer']} {row['model'] or ''}".strip()
            yield Seen(
                row["text_id"],
                row["text"],
                asked,
                mentioned,
                others,
                writer,
                row["tokens"],
                is_reduced(row["request_id"], row["combination_id"]),
            )


def _limit(store: Store) -> int | None:
    """The smallest context of the store's encoders: what every one of them sees whole."""
    known = [info.context_length for info in store.encoders() if info.context_length is not None]
    return min(known, default=None)
