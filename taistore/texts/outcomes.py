"""Commits what became of each request, in bounded batches, exactly once.

Two requests for different labels may end as the same text of the same labels, once a caption is
kept for the labels that it does mention. One of them keeps the text and the other is rejected as
``repeated``; which one depends on their keys alone, never on which answer came first.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from taistore.encoders.protocol import Encoder
from taistore.errors import TextError
from taistore.progress import ProgressBar
from taistore.store.rejects import Reject, listed_by
from taistore.store.store import Store
from taistore.texts.generate_config import JOB, GenerateConfig
from taistore.texts.judge import REPEATED
from taistore.texts.pending import Pending, answered_keys, texts_version
from taistore.texts.request_ids import is_reduced, key_of, request_id
from taistore.texts.rows.text_rows import TextRow, Vector, text_columns, text_id, write_texts
from taistore.texts.writer import JudgeRules, Kept, Refused, TextWriter, WrittenText

DETAIL_CHARACTERS = 500
ENCODE_ROWS = 32
"""So few that a model's next requests are not kept waiting for long."""

COMMIT_SHARE = 0.05
"""Most of a job's time that small commits may take; slow models fill batches slowly."""


@dataclass(frozen=True, slots=True)
class _Accepted:
    """An answer that is kept."""

    answer: WrittenText
    kept: Kept

    @property
    def key(self) -> str:
        return key_of(self.answer.request.request_id)


class Outcomes:
    """Outcomes of requests on their way into the store; counts what became of them.

    ``pending`` is what the job started from. Another job may answer the same requests meanwhile:
    what it has answered first stays, and is counted as ``present``.
    """

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        writer: TextWriter,
        config: GenerateConfig,
        *,
        rules: JudgeRules,
        pending: Pending,
        bar: ProgressBar,
    ) -> None:
        self._store, self._encoder, self._writer = store, encoder, writer
        self._config, self._rules, self._pending, self._bar = config, rules, pending, bar
        self._accepted: list[_Accepted] = []
        self._rejected: list[Reject] = []
        self._encoded: dict[str, Vector] = {}
        self._reduced: set[str] = set()
        self._version, self._alone = pending.texts_version, True
        self._first = self._seconds = 0.0
        self.present = pending.present
        self.written = self.repeated = 0
        self.rejects: Counter[str] = Counter()
        self.last_reason = ""

    @property
    def rejected(self) -> int:
        """Requests of this run that were rejected, but for those that were repeated."""
        return self.rejects.total()

    @property
    def reduced(self) -> int:
        """Texts that this run keeps for fewer labels than they were asked for."""
        return len(self._reduced)

    def add(self, answer: WrittenText, judgement: Kept | Refused) -> None:
        """Take an outcome; it lies in the store after the next :meth:`flush`."""
        if not self._accepted and not self._rejected:
            self._first = time.monotonic()
        if isinstance(judgement, Kept):
            self._accepted.append(_Accepted(answer, judgement))
        else:
            key = key_of(answer.request.request_id)
            self._rejected.append(self._reject(key, judgement.reason, judgement.detail))

    def _reject(self, key: str, reason: str, detail: str) -> Reject:
        return Reject(key, reason, detail[:DETAIL_CHARACTERS], self._writer.name)

    def encode_some(self) -> bool:
        """Encode a few of the texts that wait, while nobody waits for us; False where none is left.

        In the caller's thread: tokenizers are not safe in several, and the audit counts tokens.
        """
        waiting = (accepted.kept.text for accepted in self._accepted)
        left = islice((text for text in waiting if text not in self._encoded), ENCODE_ROWS)
        texts = list(dict.fromkeys(left))
        if texts:
            vectors_TD = self._encoder.encode_texts(texts).astype(np.float16)
            self._encoded.update(zip(texts, vectors_TD, strict=True))
        return bool(texts)

    def seconds_left(self) -> float:
        """Seconds until a flush is due: 0 where it is, infinite where nothing waits."""
        waiting = len(self._accepted) + len(self._rejected)
        if not waiting:
            return float("inf")
        if waiting >= self._config.commit_rows:
            return 0.0
        patience = max(self._config.commit_seconds, self._seconds / COMMIT_SHARE)
        return max(0.0, self._first + patience - time.monotonic())

    def flush(self) -> None:
        """Commit what waits: rejects first, so that a kill in between loses no decision."""
        started = time.monotonic()
        accepted, self._accepted = self._accepted, []
        rejected, self._rejected = self._rejected, []
        waiting = len(accepted) + len(rejected)
        if waiting:
            accepted, rejected = self._unanswered(accepted, rejected)
            self._commit([self._row(a) for a in accepted], rejected)
            self._bar.advance(waiting, rejected=self.rejected)
        self._seconds = time.monotonic() - started

    def check_rejects(self) -> None:
        """Raise :class:`TextError` where more were rejected than ``max_rejects`` allows."""
        limit = self._config.max_rejects
        if limit is not None and self.rejected > limit:
            raise TextError(
                f"{self.rejected:,} texts rejected, more than the {limit:,} allowed by max_rejects "
                f"(last: {self.last_reason}): {listed_by(self._store.uri)} lists them; good texts "
                "are kept"
            )

    def _unanswered(
        self, accepted: list[_Accepted], rejected: list[Reject]
    ) -> tuple[list[_Accepted], list[Reject]]:
        """Only what no other job has answered since this one has started."""
        self._alone = self._alone and texts_version(self._store) == self._version
        if self._alone:
            return accepted, rejected
        keys = [*(a.key for a in accepted), *(r.uri for r in rejected)]
        ids = (request_id(k, n) for k in keys for n in range(self._config.attempts))
        answered = answered_keys(self._store, ids)
        self.present += len(answered)
        return (
            [a for a in accepted if a.key not in answered],
            [r for r in rejected if r.uri not in answered],
        )

    def _commit(self, rows: Sequence[TextRow], rejected: Sequence[Reject]) -> None:
        settled = _settle(self._store, rows)
        self._count(settled, rejected)
        losers = [*settled.repeated, *settled.displaced]
        rejects = [*rejected, *(self._reject(_key(row), REPEATED, row.text) for row in losers)]
        if rejects:
            self._store.reject(JOB, rejects)
        before = texts_version(self._store)
        write_texts(self._store, self._encoder, settled.new, encoded=self._encoded)
        self._encoded = {}
        if settled.better:
            self._store.upsert("texts", text_columns(self._store, settled.better))
        # Every commit is a version; more are those of another job.
        commits = bool(settled.new) + bool(settled.better)
        after = texts_version(self._store)
        self._alone = self._alone and before == self._version and after == before + commits
        self._version = after
        kept = map(_key, settled.kept)
        back = [k for k in kept if self._pending.was_set_aside(k) or not self._alone]
        if back:
            self._store.clear_rejects(JOB, back)

    def _count(self, settled: "_Settled", rejected: Sequence[Reject]) -> None:
        reasons = [reject.reason for reject in rejected if reject.reason != REPEATED]
        self.rejects.update(reasons)
        self.last_reason = reasons[-1] if reasons else self.last_reason
        self.repeated += len(rejected) - len(reasons) + len(settled.repeated)
        self.present += settled.present
        self.written += len(settled.kept)
        self._reduced.update(_key(row) for row in settled.kept if _is_reduced(row))
        for key in map(_key, settled.displaced):
            if key in self._reduced:
                self._reduced.remove(key)
                self.written -= 1
            elif self._pending.was_present(key):
                self.present -= 1
            else:
                # Another job asked for it: it is none of this one's requests.
                continue
            self.repeated += 1

    def _row(self, accepted: _Accepted) -> TextRow:
        answer, kept, request = accepted.answer, accepted.kept, accepted.answer.request
        combination_id = self._store.labels.combination_id(kept.label_ids)
        return TextRow(
            text_id=text_id(kept.text, combination_id),
            combination_id=combination_id,
            label_ids=kept.label_ids,
            text=kept.text,
            writer=self._writer.name,
            model=self._writer.model,
            instruction=request.instruction if answer.instruction is None else answer.instruction,
            turn=request.turn,
            seed=request.seed,
            tokens=self._rules.limit(kept.text).tokens,
            request_id=request.request_id,
            temperature=answer.temperature,
            attempt=request.attempt,
            mentions=kept.mentions,
        )


def _key(row: TextRow) -> str:
    return key_of(row.request_id or "")


def _is_reduced(row: TextRow) -> bool:
    return is_reduced(row.request_id, row.combination_id)


def wins(row: TextRow, other: TextRow) -> bool:
    """Whether ``row`` takes the place of ``other``, which has the same text and labels."""
    if not _is_reduced(other):
        return False
    return not _is_reduced(row) or _key(row) < _key(other)


@dataclass(slots=True)
class _Settled:
    """Rows that are new or take a stored one's place, and rows that lost theirs or found none.

    ``present`` rows are there already for the same request.
    """

    new: list[TextRow] = field(default_factory=list)
    better: list[TextRow] = field(default_factory=list)
    repeated: list[TextRow] = field(default_factory=list)
    displaced: list[TextRow] = field(default_factory=list)
    present: int = 0

    @property
    def kept(self) -> list[TextRow]:
        return [*self.new, *self.better]


def _settle(store: Store, rows: Iterable[TextRow]) -> _Settled:
    unique: dict[str, TextRow] = {}
    settled = _Settled()
    for row in rows:
        other = unique.setdefault(row.text_id, row)
        if other is row:
            continue
        if wins(row, other):
            unique[row.text_id] = row
        settled.repeated.append(other if unique[row.text_id] is row else row)
    stored = _stored(store, list(unique))
    for row in unique.values():
        there = stored.get(row.text_id)
        if there is None:
            settled.new.append(row)
        elif wins(row, there):
            settled.better.append(row)
            settled.displaced.append(there)
        elif _key(there) != _key(row):
            settled.repeated.append(row)
        else:
            settled.present += 1
    return settled


def _stored(store: Store, ids: Sequence[str]) -> dict[str, TextRow]:
    if not ids:
        return {}
    columns = [name for name in store.schema("texts").names if name != "mentions"]
    rows = store.look_up("texts", "text_id", ids, columns=columns).to_pylist()
    return {row["text_id"]: TextRow(label_ids=(), **row) for row in rows}
