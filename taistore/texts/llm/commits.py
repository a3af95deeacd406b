"""Commits what a language model wrote, in bounded batches, each request's outcome exactly once.

Two requests for different labels may end as the same text of the same labels, once a caption is
kept for the labels that it does mention. One of them keeps the text and the other is rejected as
``repeated``; which one depends on their keys alone, never on which answer came first.
"""

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from taistore.encoders.protocol import Encoder
from taistore.progress import ProgressBar
from taistore.store.store import Store
from taistore.texts.generation import JOB, REPEATED, GenerateConfig
from taistore.texts.llm.chains import Wanted
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.requests import is_reduced, key_of
from taistore.texts.text_rows import TextRow, Vector, text_columns, text_id, write_texts
from taistore.texts.token_lengths import text_lengths
from taistore.texts.writer import TextRequest

DETAIL_CHARACTERS = 500
ENCODE_ROWS = 32
"""So few that a model's next requests are not kept waiting for long."""

COMMIT_SHARE = 0.05
"""Most of a job's time that small commits may take; slow models fill batches slowly."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A caption for the labels ``label_ids``; it also mentions the labels ``others``."""

    request: TextRequest
    text: str
    label_ids: tuple[int, ...]
    others: tuple[int, ...]


class Rejected(NamedTuple):
    """A request without a usable caption, as the table ``rejects`` keeps it."""

    key: str
    reason: str
    detail: str


class Commits:
    """Outcomes on their way into the store; counts what became of them."""

    def __init__(
        self,
        store: Store,
        encoder: Encoder,
        writer: ConversationWriter,
        config: GenerateConfig,
        *,
        wanted: Wanted,
        bar: ProgressBar,
    ) -> None:
        self._store, self._encoder, self._writer = store, encoder, writer
        self._config, self._wanted, self._bar = config, wanted, bar
        self._accepted: list[Accepted] = []
        self._rejected: list[Rejected] = []
        self._encoded: dict[str, Vector] = {}
        self._reduced: set[str] = set()
        self._first = self._seconds = 0.0
        self.present = wanted.present
        self.written = 0
        self.rejects: Counter[str] = Counter()
        self.last_reason = ""

    @property
    def rejected(self) -> int:
        """Requests of this run that were rejected."""
        return self.rejects.total()

    @property
    def reduced(self) -> int:
        """Texts that this run keeps for fewer labels than they were asked for."""
        return len(self._reduced)

    def add(self, outcome: Accepted | Rejected) -> None:
        """Take an outcome; it lies in the store after the next :meth:`flush`."""
        if not self._accepted and not self._rejected:
            self._first = time.monotonic()
        if isinstance(outcome, Accepted):
            self._accepted.append(outcome)
        else:
            self._rejected.append(outcome)
            self.rejects[outcome.reason] += 1
            self.last_reason = outcome.reason

    def encode_some(self) -> bool:
        """Encode a few of the texts that wait, while nobody waits for us; False where none is left.

        In the caller's thread: tokenizers are not safe in several, and the audit counts tokens.
        """
        left = islice((a.text for a in self._accepted if a.text not in self._encoded), ENCODE_ROWS)
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
        rows = self._rows(accepted)
        settled = _settle(self._store, rows)
        self._count(settled)
        losers = [*settled.repeated, *settled.displaced]
        if rejected or losers:
            repeats = [Rejected(_key(row), REPEATED, row.text) for row in losers]
            self._store.reject(
                JOB, [(k, r, d[:DETAIL_CHARACTERS]) for k, r, d in (*rejected, *repeats)]
            )
        write_texts(self._store, self._encoder, settled.new, encoded=self._encoded)
        self._encoded = {}
        if settled.better:
            self._store.upsert("texts", text_columns(self._store, settled.better))
        back = [key for key in map(_key, settled.kept) if self._wanted.was_set_aside(key)]
        if back:
            self._store.clear_rejects(JOB, back)
        self._bar.advance(len(accepted) + len(rejected), rejected=self.rejected)
        self._seconds = time.monotonic() - started

    def _count(self, settled: "_Settled") -> None:
        self.written += len(settled.kept)
        self._reduced.update(_key(row) for row in settled.kept if _is_reduced(row))
        self.rejects[REPEATED] += len(settled.repeated)
        for key in map(_key, settled.displaced):
            if key in self._reduced:
                self._reduced.remove(key)
                self.written -= 1
            elif self._wanted.was_present(key):
                self.present -= 1
            else:
                # Another job asked for it: it is none of this one's requests.
                continue
            self.rejects[REPEATED] += 1

    def _rows(self, accepted: Sequence[Accepted]) -> list[TextRow]:
        labels = self._store.labels
        lengths = text_lengths(self._encoder, [a.text for a in accepted])
        return [
            self._row(a, labels.combination_id(a.label_ids), length.tokens)
            for a, length in zip(accepted, lengths, strict=True)
        ]

    def _row(self, accepted: Accepted, combination_id: int, tokens: int) -> TextRow:
        request, writer = accepted.request, self._writer
        return TextRow(
            text_id=text_id(accepted.text, combination_id),
            combination_id=combination_id,
            label_ids=accepted.label_ids,
            text=accepted.text,
            writer=writer.name,
            model=writer.model,
            instruction=f"{writer.prompts.name}:{request.instruction}",
            turn=request.turn,
            seed=request.seed,
            tokens=tokens,
            request_id=request.request_id,
            temperature=writer.sampling.temperature,
            attempt=request.attempt,
            mentions=accepted.others,
        )


def _key(row: TextRow) -> str:
    return key_of(row.request_id or "")


def _is_reduced(row: TextRow) -> bool:
    return is_reduced(row.request_id, row.combination_id)


def _wins(row: TextRow, other: TextRow) -> bool:
    """Whether ``row`` takes the place of ``other``, which has the same text and labels."""
    if not _is_reduced(other):
        return False
    return not _is_reduced(row) or _key(row) < _key(other)


@dataclass(frozen=True, slots=True)
class _Settled:
    """Rows that are new or take a stored one's place, and rows that lost theirs or found none."""

    new: list[TextRow]
    better: list[TextRow]
    repeated: list[TextRow]
    displaced: list[TextRow]

    @property
    def kept(self) -> list[TextRow]:
        return [*self.new, *self.better]


def _settle(store: Store, rows: Iterable[TextRow]) -> _Settled:
    unique: dict[str, TextRow] = {}
    settled = _Settled([], [], [], [])
    for row in rows:
        other = unique.setdefault(row.text_id, row)
        if other is row:
            continue
        if _wins(row, other):
            unique[row.text_id] = row
        settled.repeated.append(other if unique[row.text_id] is row else row)
    stored = _stored(store, list(unique))
    for row in unique.values():
        there = stored.get(row.text_id)
        if there is None:
            settled.new.append(row)
        elif _wins(row, there):
            settled.better.append(row)
            settled.displaced.append(there)
        elif _key(there) != _key(row):
            settled.repeated.append(row)
    return settled


def _stored(store: Store, ids: Sequence[str]) -> dict[str, TextRow]:
    if not ids:
        return {}
    columns = [name for name in store.schema("texts").names if name != "mentions"]
    found: dict[str, TextRow] = {}
    for batch in store.scan("texts", columns=columns, where={"text_id": list(ids)}):
        for row in batch.to_pylist():
            found[row["text_id"]] = TextRow(label_ids=(), **row)
    return found
