"""The job ``generate-texts``: sample combinations, have them written, encode, store; resumable."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from taistore.contracts import TABLES
from taistore.encoders.protocol import Encoder
from taistore.errors import TextError
from taistore.labels import LabelSet
from taistore.progress import Progress, ProgressBar, no_progress
from taistore.store.store import Store
from taistore.texts.length import TOO_LONG, text_lengths, text_limit
from taistore.texts.rows import TextRow, encode_missing_texts, text_id, write_texts
from taistore.texts.sampling import (
    DEFAULT_SIZES,
    DEFAULT_TEXTS_PER_COMBINATION,
    Balance,
    CombinationSample,
    sample_combinations,
)
from taistore.texts.templates import TemplateWriter
from taistore.texts.wanted import missing_requests
from taistore.texts.writers import Retry, TextRequest, TextWriter, WrittenText

JOB = "generate-texts"
REPEATED = "repeated"

WRITERS: Mapping[str, Callable[[LabelSet], TextWriter]] = {"template": TemplateWriter}
"""Writers by name; each is made for one label set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateConfig:
    """What to generate; raising ``count`` later keeps every text that is there.

    ``sizes`` maps labels per combination to their relative frequency; every label occurs in at
    least ``min_per_label`` texts. A text that is too long or repeats another of its combination is
    asked for up to ``attempts`` times. ``max_rejects`` stops the job once more texts are rejected.
    """

    count: int
    sizes: Mapping[int, float] = field(default_factory=lambda: dict(DEFAULT_SIZES))
    texts_per_combination: int = DEFAULT_TEXTS_PER_COMBINATION
    min_per_label: int = 1
    seed: int = 0
    writer: str = "template"
    attempts: int = 4
    batch_texts: int = 4096
    max_rejects: int | None = None

    def __post_init__(self) -> None:
        for name in ("attempts", "batch_texts"):
            if getattr(self, name) < 1:
                raise TextError(f"{name} is {getattr(self, name)}: it must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateSummary:
    """What a run did: ``requested`` = ``present`` + ``written`` + ``repeated`` + ``rejected``.

    ``repeated`` texts were still equal to another of their combination after all attempts;
    ``encoded_earlier`` texts were in the store without a vector of this encoder.
    """

    requested: int
    present: int
    written: int
    repeated: int
    rejected: int
    encoded_earlier: int
    combinations: int
    balance: Balance
    encoder_id: str


def generate_texts(
    store: Store,
    encoder: Encoder,
    config: GenerateConfig,
    *,
    writer: TextWriter | None = None,
    progress: Progress = no_progress,
) -> GenerateSummary:
    """Write ``config.count`` texts with their vectors, except those that are there already.

    ``writer`` replaces the one that ``config.writer`` names. Raises :class:`TextError` where no
    text at all was usable or ``max_rejects`` is exceeded; what was written before is kept.
    """
    labels = store.labels
    text_limit(encoder)
    writer = writer or make_writer(config.writer, labels)
    sample = sample_combinations(
        labels,
        count=config.count,
        sizes=config.sizes,
        texts_per_combination=config.texts_per_combination,
        min_per_label=config.min_per_label,
        seed=config.seed,
    )
    _check_turns(sample, len(labels))
    earlier = encode_missing_texts(store, encoder, progress=progress)
    job = _Job(store, encoder, writer, config)
    with progress("writing texts", total=len(sample), unit="texts") as bar:
        for requests, present in missing_requests(
            store, sample, writer, seed=config.seed, batch_texts=config.batch_texts
        ):
            bar.advance(present)
            job.run(requests, bar)
    present = len(sample) - job.written - job.repeated - job.rejected
    if job.rejected and not job.written and not present:
        raise TextError(
            f"none of {len(sample):,} texts is usable ({job.last_reason}): see the table "
            "'rejects', or use another writer"
        )
    return GenerateSummary(
        requested=len(sample),
        present=present,
        written=job.written,
        repeated=job.repeated,
        rejected=job.rejected,
        encoded_earlier=earlier,
        combinations=len(sample.label_ids),
        balance=sample.balance(),
        encoder_id=encoder.info.encoder_id,
    )


def make_writer(name: str, labels: LabelSet) -> TextWriter:
    """A writer by name; raises :class:`TextError` naming those that there are."""
    if name not in WRITERS:
        raise TextError(f"no text writer {name!r}: there are {', '.join(sorted(WRITERS))}")
    return WRITERS[name](labels)


def _check_turns(sample: CombinationSample, label_count: int) -> None:
    largest = np.iinfo(TABLES["texts"].schema().field("turn").type.to_pandas_dtype()).max
    if len(sample) and int(sample.turn.max()) > largest:
        raise TextError(
            f"{len(sample):,} texts of {label_count} labels repeat one combination more than "
            f"{largest:,} times: ask for fewer texts, larger combinations or another seed"
        )


class _Job:
    """Turns requests into rows, a batch at a time, and counts what became of them."""

    def __init__(
        self, store: Store, encoder: Encoder, writer: TextWriter, config: GenerateConfig
    ) -> None:
        self._store, self._encoder, self._writer, self._config = store, encoder, writer, config
        self.written = self.repeated = self.rejected = 0
        self.last_reason = ""

    def run(self, requests: Sequence[TextRequest], bar: ProgressBar) -> None:
        """Write, check, retry, encode and append one batch."""
        rows: dict[str, TextRow] = {}
        asked = list(requests)
        failed: list[tuple[TextRequest, str, str]] = []
        for attempt in range(self._config.attempts):
            failed = self._attempt(asked, rows) if asked else []
            last = attempt + 1 == self._config.attempts
            asked = [] if last else [_again(request, reason) for request, reason, _ in failed]
        rejects = [f for f in failed if f[1] != REPEATED]
        self.repeated += len(failed) - len(rejects)
        self.written += write_texts(self._store, self._encoder, list(rows.values()), bar=bar)
        self._reject(rejects)
        bar.advance(len(failed))

    def _attempt(
        self, requests: Sequence[TextRequest], rows: dict[str, TextRow]
    ) -> list[tuple[TextRequest, str, str]]:
        """Add the usable answers to ``rows``; returns the others as (request, reason, detail)."""
        failed: list[tuple[TextRequest, str, str]] = []
        answers: list[tuple[WrittenText, str]] = []
        for answer in self._writer.write(requests):
            text = " ".join((answer.text or "").split())
            if text:
                answers.append((answer, text))
            else:
                reason = answer.reason or "empty"
                failed.append((answer.request, reason, f"the writer gave no text: {reason}"))
        lengths = text_lengths(self._encoder, [text for _, text in answers])
        ids = [text_id(text, answer.request.combination_id) for answer, text in answers]
        new = set(self._store.missing("texts", ids)) if ids else set()
        for (answer, text), length, i in zip(answers, lengths, ids, strict=True):
            if not length.fits:
                failed.append((answer.request, TOO_LONG, f"{length.detail}: {text[:200]}"))
            elif i not in new or i in rows:
                failed.append((answer.request, REPEATED, ""))
            else:
                rows[i] = self._row(answer.request, text, i, length.tokens)
        return failed

    def _row(self, request: TextRequest, text: str, i: str, tokens: int) -> TextRow:
        return TextRow(
            text_id=i,
            combination_id=request.combination_id,
            label_ids=request.label_ids,
            text=text,
            writer=self._writer.name,
            model=self._writer.model,
            instruction=request.instruction,
            turn=request.turn,
            seed=request.seed,
            tokens=tokens,
        )

    def _reject(self, rejects: Sequence[tuple[TextRequest, str, str]]) -> None:
        if not rejects:
            return
        self._store.reject(
            JOB,
            [
                (f"combination {r.combination_id} turn {r.turn} seed {r.seed}", reason, detail)
                for r, reason, detail in rejects
            ],
        )
        self.rejected += len(rejects)
        self.last_reason = rejects[-1][1]
        limit = self._config.max_rejects
        if limit is not None and self.rejected > limit:
            raise TextError(
                f"{self.rejected:,} texts rejected, more than the {limit:,} allowed (last: "
                f"{self.last_reason}): see the table 'rejects'; good texts are kept"
            )


def _again(request: TextRequest, reason: str) -> TextRequest:
    # A short text that repeats another must not grow again: it stays short and varies.
    retry: Retry = "shorter" if reason == TOO_LONG or request.retry == "shorter" else "different"
    return replace(request, attempt=request.attempt + 1, retry=retry)
