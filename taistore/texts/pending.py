"""What is pending: the texts of a sample that the store lacks, whoever writes them.

A text depends on the earlier ones of its combination (it must differ from them, and those of its
own conversation are quoted), so a combination is written in the order of its turns, and a job
that was killed goes on with the same questions. Many combinations are under way at once.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from taistore.store.store import Store
from taistore.store.writes.known_keys import is_among
from taistore.texts.combinations.sampling import CombinationSample
from taistore.texts.generate_config import JOB
from taistore.texts.request_ids import (
    RequestIds,
    combination_of,
    key_number,
    key_of,
    request_id,
)
from taistore.texts.writer import AskAgain, TextRequest

UNANSWERED = "unanswered:"
"""Begins the reasons of requests that no answer came to; every run puts them again."""

_BLOCK_COMBINATIONS = 2048

UInt64 = NDArray[np.uint64]


class PendingCombination:
    """The texts that one combination lacks; at most one request is under way."""

    def __init__(
        self,
        combination_id: int,
        label_ids: tuple[int, ...],
        *,
        turns: int,
        due: Sequence[tuple[int, str]],
        written: dict[int, str],
        known: dict[str, None],
        plan: "Plan",
    ) -> None:
        self.combination_id = combination_id
        self.label_ids = label_ids
        self.known = known
        self._turns = turns
        self._due = deque(due)
        self._written = written
        self._plan = plan

    @property
    def key(self) -> str:
        """The key of the text that is asked for now."""
        return self._due[0][1]

    @property
    def progress(self) -> float:
        """How far this combination is: 0 at its first text, towards 1 at its last."""
        return self._due[0][0] / self._turns

    def request(self) -> TextRequest | None:
        """The first attempt at the next text; None when all are done."""
        if not self._due:
            return None
        turn, key = self._due[0]
        n = self._plan.texts_per_conversation
        conversation = turn // n
        turns = range(conversation * n, turn)
        # Of conversations that are over nothing is quoted.
        self._written = {t: text for t, text in self._written.items() if t >= turns.start}
        return TextRequest(
            combination_id=self.combination_id,
            label_ids=self.label_ids,
            turn=turn,
            seed=self._plan.ids.seed,
            conversation=conversation,
            instruction=self._plan.instruction(turn),
            request_id=request_id(key, 0),
            earlier=tuple(self._written[t] for t in turns if t in self._written),
        )

    def again(self, request: TextRequest, why: AskAgain) -> TextRequest:
        """The next attempt at the same text."""
        attempt = request.attempt + 1
        return replace(
            request,
            attempt=attempt,
            retry=why.retry,
            last=why.last,
            request_id=request_id(self.key, attempt),
        )

    def done(self, text: str = "") -> None:
        """Go on to the next text; ``text`` is quoted from now on and may not be repeated.

        Without it the turn was given up, or its caption lost labels: what it taught the model
        would be wrong, and other jobs may decide which request such a caption is kept for.
        """
        turn, _ = self._due.popleft()
        if text:
            self._written[turn] = text
            self.known[text] = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the turns of a combination become requests."""

    ids: RequestIds
    instructions: Sequence[str]
    texts_per_conversation: int

    def instruction(self, turn: int) -> str:
        """The question of a turn's conversation."""
        return self.instructions[turn // self.texts_per_conversation % len(self.instructions)]

    def keys(self, combination_id: int, turns: int) -> list[str]:
        """The keys of a combination's first turns."""
        return [self.ids.key(combination_id, self.instruction(t), t) for t in range(turns)]


class Pending:
    """A sample against what the store holds: ``present``, ``rejected_earlier`` and ``due`` texts.

    Requests that were rejected count as done unless ``retry_rejects``; those without an answer
    are due.
    """

    def __init__(
        self,
        store: Store,
        sample: CombinationSample,
        plan: Plan,
        *,
        retry_rejects: bool,
    ) -> None:
        self._store, self._sample, self._plan = store, sample, plan
        # Taken before reading, so that what another job adds meanwhile is found at the commit.
        self.texts_version = texts_version(store)
        self._turns = np.bincount(sample.combination, minlength=len(sample.label_ids))
        ids = map(store.labels.combination_id, sample.combinations())
        self._ids = np.fromiter(ids, np.int64, len(sample.label_ids))
        numbers = np.fromiter(
            (key_number(k) for i, n in self._turns_of() for k in plan.keys(i, n)),
            dtype=np.uint64,
            count=len(sample),
        )
        numbers.sort()
        stored = _stored(store, plan)
        self._present = stored[is_among(stored, numbers)]
        self._rejected, unanswered = _rejected(store)
        self._set_aside = np.union1d(self._rejected, unanswered)
        self._done = self._present
        if not retry_rejects:
            self._done = np.union1d(self._present, self._rejected)
        self.present = len(self._present)
        self.due = len(numbers) - int(is_among(self._done, numbers).sum())
        self.rejected_earlier = len(numbers) - self.present - self.due

    def _turns_of(self) -> Iterator[tuple[int, int]]:
        return zip(map(int, self._ids), map(int, self._turns), strict=True)

    def was_present(self, key: str) -> bool:
        """Whether the store held this text when the job started."""
        return _contains(self._present, key)

    def was_set_aside(self, key: str) -> bool:
        """Whether ``rejects`` held this request when the job started."""
        return _contains(self._set_aside, key)

    def combinations(self) -> Iterator[PendingCombination]:
        """Combinations with texts to write, those with most texts first; read in blocks."""
        order = np.argsort(-self._turns, kind="stable")
        for start in range(0, len(order), _BLOCK_COMBINATIONS):
            yield from self._block(order[start : start + _BLOCK_COMBINATIONS].tolist())

    def _block(self, places: Sequence[int]) -> Iterator[PendingCombination]:
        keys = {c: self._plan.keys(int(self._ids[c]), int(self._turns[c])) for c in places}
        due = {
            c: [(t, key) for t, key in enumerate(of) if not _contains(self._done, key)]
            for c, of in keys.items()
        }
        there = _texts(self._store, [int(self._ids[c]) for c in places if due[c]])
        for c in places:
            if not due[c]:
                continue
            combination_id = int(self._ids[c])
            turn_of = {key: turn for turn, key in enumerate(keys[c])}
            # In the order in which an undisturbed job meets them.
            texts = sorted(
                there.get(combination_id, []), key=lambda row: (turn_of.get(row[0], -1), row[1])
            )
            yield PendingCombination(
                combination_id,
                self._sample.labels_of(c),
                turns=len(keys[c]),
                due=due[c],
                written={turn_of[key]: text for key, text in texts if key in turn_of},
                known=dict.fromkeys(text for _, text in texts),
                plan=self._plan,
            )


def _contains(numbers: UInt64, key: str) -> bool:
    number = np.uint64(key_number(key))
    place = int(np.searchsorted(numbers, number))
    return place < len(numbers) and bool(numbers[place] == number)


def _stored(store: Store, plan: Plan) -> UInt64:
    """Sorted numbers of the requests of this model and seed whose texts the store holds."""
    blocks = [np.empty(0, dtype=np.uint64)]
    where = {"model": plan.ids.model, "seed": plan.ids.seed}
    for batch in store.scan("texts", columns=["request_id"], where=where, batch_rows=65536):
        ids = [i for i in batch.column(0).to_pylist() if i]
        blocks.append(np.array([key_number(key_of(i)) for i in ids], dtype=np.uint64))
    return np.unique(np.concatenate(blocks))


def texts_version(store: Store) -> int:
    """A number that grows with every change of the table ``texts``; 0 before there is one."""
    return store.versions([("texts", None)]).get("texts", 0)


def answered_keys(store: Store, ids: Iterable[str]) -> set[str]:
    """The keys of those requests, given by the ids of their attempts, that have a text by now."""
    batches = store.scan("texts", columns=["request_id"], where={"request_id": list(ids)})
    return {key_of(str(i)) for batch in batches for i in batch.column(0).to_pylist()}


def _rejected(store: Store) -> tuple[UInt64, UInt64]:
    """Sorted numbers of the requests that were rejected, and of those without an answer."""
    judged: list[int] = []
    unanswered: list[int] = []
    columns = ["uri", "reason"]
    for batch in store.scan("rejects", columns=columns, where={"job": JOB}, batch_rows=65536):
        for row in batch.to_pylist():
            kept = unanswered if str(row["reason"]).startswith(UNANSWERED) else judged
            kept.append(key_number(str(row["uri"])))
    return (
        np.unique(np.array(judged, dtype=np.uint64)),
        np.unique(np.array(unanswered, dtype=np.uint64)),
    )


def _texts(store: Store, combination_ids: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
    """(Key or "", text) of the texts written for these combinations, by any writer.

    Texts that were asked for more labels and lost some are left out: when they come depends on
    the order in which answers arrive, and no question may depend on that.
    """
    found: dict[int, list[tuple[str, str]]] = {}
    if not combination_ids:
        return found
    columns = ["request_id", "text"]
    found_rows = store.look_up("texts", "combination_id", combination_ids, columns=columns)
    for row in found_rows.to_pylist():
        asked = row["request_id"] or ""
        if asked and combination_of(asked) != row["combination_id"]:
            continue
        found.setdefault(row["combination_id"], []).append((key_of(asked), row["text"]))
    return found
