"""The job ``generate-texts``: sample combinations, have them written, encode, store; resumable."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from taistore.contracts import TABLES
from taistore.encoders.protocol import Encoder
from taistore.errors import TextError
from taistore.labels import LabelSet
from taistore.progress import Progress, ProgressBar, no_progress
from taistore.store.store import Store
from taistore.texts.combinations.sampling import Balance, CombinationSample, sample_combinations
from taistore.texts.generation import (
    JOB,
    REPEATED,
    GenerateConfig,
    GenerateSummary,
    Outcome,
    check_rejects,
)
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.conversation_job import write_conversations
from taistore.texts.templates.template_writer import TemplateWriter
from taistore.texts.text_rows import TextRow, encode_missing_texts, text_id, write_texts
from taistore.texts.token_lengths import TOO_LONG, text_lengths, text_limit
from taistore.texts.wanted import missing_requests
from taistore.texts.writer import Retry, TextRequest, TextWriter, WrittenText

__all__ = ["GenerateConfig", "GenerateSummary", "JOB", "generate_texts"]

WRITERS: Mapping[str, Callable[[LabelSet], TextWriter]] = {"template": TemplateWriter}
"""Writers by name; each is made for one label set."""


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
    affinity = None
    if config.combinations == "plausible":
        from taistore.texts.combinations.affinity import store_affinity

        affinity = store_affinity(store, encoder)
    sample = sample_combinations(
        labels,
        count=config.count,
        sizes=config.sizes,
        texts_per_combination=config.texts_per_combination,
        min_per_label=config.min_per_label,
        seed=config.seed,
        combinations=config.combinations,
        affinity=affinity,
    )
    _check_turns(sample, len(labels))
    earlier = encode_missing_texts(store, encoder, progress=progress)
    if isinstance(writer, ConversationWriter):
        done = write_conversations(store, encoder, writer, sample, config, progress=progress)
    else:
        done = _write_batches(store, encoder, writer, sample, config, progress=progress)
    if not done.written and not done.present and done.rejected + done.rejected_earlier:
        raise TextError(
            f"none of {len(sample):,} texts is usable ({done.last_reason}): 'taistore show "
            "--rejects' lists them; or use another writer"
        )
    return GenerateSummary(
        requested=len(sample),
        present=done.present,
        written=done.written,
        repeated=done.repeated,
        rejected=done.rejected,
        encoded_earlier=earlier,
        combinations=len(sample.label_ids),
        balance=Balance.of(_texts_per_label(store)),
        encoder_id=encoder.info.encoder_id,
        reduced=done.reduced,
        rejected_earlier=done.rejected_earlier,
        rejects=done.rejects,
    )


def _texts_per_label(store: Store) -> NDArray[np.int64]:
    """How many of the store's texts name each label [N], whoever wrote them."""
    index = store.combination_index()
    counts = np.zeros(len(store.labels), dtype=np.int64)
    for batch in store.scan("texts", columns=["combination_id"], batch_rows=65536):
        _, named = index.positives(batch.column(0).to_numpy())
        counts += np.bincount(named, minlength=len(counts))
    return counts


def make_writer(name: str, labels: LabelSet) -> TextWriter:
    """A writer by name; raises :class:`TextError` naming those that there are."""
    if name not in WRITERS:
        raise TextError(
            f"no text writer {name!r}: there are {', '.join(sorted(WRITERS))}, and for language "
            "models a ConversationWriter is given"
        )
    return WRITERS[name](labels)


def _check_turns(sample: CombinationSample, label_count: int) -> None:
    largest = np.iinfo(TABLES["texts"].schema().field("turn").type.to_pandas_dtype()).max
    if len(sample) and int(sample.turn.max()) > largest:
        raise TextError(
            f"{len(sample):,} texts of {label_count} labels repeat one combination more than "
            f"{largest:,} times: ask for fewer texts, larger combinations or another seed"
        )


def _write_batches(
    store: Store,
    encoder: Encoder,
    writer: TextWriter,
    sample: CombinationSample,
    config: GenerateConfig,
    *,
    progress: Progress,
) -> Outcome:
    """Texts of a writer whose texts do not depend on each other."""
    job = _Job(store, encoder, writer, config)
    with progress("writing texts", total=len(sample), unit="texts") as bar:
        for requests, present in missing_requests(
            store, sample, writer, seed=config.seed, batch_texts=config.batch_texts
        ):
            bar.advance(present)
            job.run(requests, bar)
    return Outcome(
        present=len(sample) - job.written - job.repeated - job.rejected,
        written=job.written,
        repeated=job.repeated,
        rejects=dict(job.rejects),
        last_reason=job.last_reason,
    )


class _Job:
    """Turns requests into rows, a batch at a time, and counts what became of them."""

    def __init__(
        self, store: Store, encoder: Encoder, writer: TextWriter, config: GenerateConfig
    ) -> None:
        self._store, self._encoder, self._writer, self._config = store, encoder, writer, config
        self.written = self.repeated = 0
        self.rejects: Counter[str] = Counter()
        self.last_reason = ""

    @property
    def rejected(self) -> int:
        return self.rejects.total()

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
        self.rejects.update(reason for _, reason, _ in rejects)
        self.last_reason = rejects[-1][1]
        check_rejects(self.rejected, self._config.max_rejects, self.last_reason)


def _again(request: TextRequest, reason: str) -> TextRequest:
    # A short text that repeats another must not grow again: it stays short and varies.
    retry: Retry = "shorter" if reason == TOO_LONG or request.retry == "shorter" else "different"
    return replace(request, attempt=request.attempt + 1, retry=retry)
