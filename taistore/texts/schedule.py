"""Keeps many combinations under way, each with one request at a time: ask, judge, go on."""

import heapq
import itertools

from taistore.stopping import check, stop_requested, woken_by
from taistore.texts.generate_config import GenerateConfig
from taistore.texts.outcomes import Outcomes
from taistore.texts.pending import UNANSWERED, Pending, PendingCombination
from taistore.texts.writer import (
    AskAgain,
    Judge,
    Judgement,
    Kept,
    Refused,
    TextRequest,
    WrittenText,
)
from taistore.texts.writer_threads import SameThread, WriterThreads

_PATIENCE = 60.0


class Schedule:
    """Has everything that is pending written by ``writer`` and judged by ``judge``."""

    def __init__(
        self,
        pending: Pending,
        writer: WriterThreads | SameThread,
        judge: Judge,
        outcomes: Outcomes,
        config: GenerateConfig,
    ) -> None:
        self._combinations = pending.combinations()
        self._writer, self._judge, self._outcomes = writer, judge, outcomes
        self._concurrent = config.concurrent
        if isinstance(writer, SameThread):
            # No thread waits for work, so as many as fill a commit: their rows lie together.
            fill = -(-config.commit_rows // config.texts_per_combination)
            self._concurrent = min(config.concurrent, fill)
        self._active: dict[int, PendingCombination] = {}
        self._ready: list[tuple[float, int, TextRequest]] = []
        self._serial = itertools.count()

    def run(self) -> None:
        """Until every text of every combination is written or given up.

        Asked to stop, it takes the answers that are there and waits for none that is under way.
        """
        with woken_by(self._writer.wake):
            self._run()

    def _run(self) -> None:
        while self._admit():
            if stop_requested():
                for left in self._writer.left():
                    self._resolve(left)
                check()
            while count := self._writer.room(len(self._ready)):
                self._writer.ask([heapq.heappop(self._ready)[-1] for _ in range(count)])
            if not (self._writer.quiet and self._outcomes.encode_some()):
                answer = self._writer.next(min(self._outcomes.seconds_left(), _PATIENCE))
                if answer is not None:
                    self._resolve(answer)
            if not self._outcomes.seconds_left():
                self._outcomes.flush()
                self._outcomes.check_rejects()

    def _admit(self) -> bool:
        while len(self._active) < self._concurrent:
            combination = next(self._combinations, None)
            if combination is None:
                break
            self._active[combination.combination_id] = combination
            self._go_on(combination)
        return bool(self._active)

    def _resolve(self, answer: WrittenText) -> None:
        combination = self._active[answer.request.combination_id]
        if answer.text is None:
            # Writers have tried again by themselves where that could help.
            judgement: Judgement = Refused(
                reason=f"{UNANSWERED}{answer.reason}", detail=answer.detail
            )
        else:
            judgement = self._judge.judge(answer, combination.known)
        if isinstance(judgement, AskAgain):
            self._put(combination, combination.again(answer.request, judgement))
            return
        whole = isinstance(judgement, Kept) and judgement.label_ids == combination.label_ids
        combination.done(judgement.text if isinstance(judgement, Kept) and whole else "")
        self._outcomes.add(answer, judgement)
        self._go_on(combination)

    def _go_on(self, combination: PendingCombination) -> None:
        request = combination.request()
        if request is None:
            del self._active[combination.combination_id]
        else:
            self._put(combination, request)

    def _put(self, combination: PendingCombination, request: TextRequest) -> None:
        # Those that lag behind come first: a combination with many texts, one after another, must
        # not be left alone at the end, and a job that is stopped leaves an even part of each.
        heapq.heappush(self._ready, (combination.progress, next(self._serial), request))
