"""Has a sample written in conversations: asks, audits, asks again, commits; resumable anywhere."""

import heapq
import itertools
from collections.abc import Mapping

from taistore.encoders.protocol import Encoder
from taistore.progress import Progress
from taistore.store.store import Store
from taistore.texts.audit.caption_audit import LOST_LABELS, NEAR_DUPLICATE, Audit, Verdict
from taistore.texts.audit.refusals import TRUNCATED
from taistore.texts.combinations.sampling import CombinationSample
from taistore.texts.generation import JOB, GenerateConfig, Outcome, check_rejects
from taistore.texts.llm.asking import Asker
from taistore.texts.llm.chains import UNANSWERED, Chain, Plan, Wanted
from taistore.texts.llm.commits import Accepted, Commits, Rejected
from taistore.texts.llm.conversation import ConversationWriter
from taistore.texts.llm.requests import RequestIds
from taistore.texts.token_lengths import TOO_LONG, Length, text_lengths
from taistore.texts.writer import Retry, TextRequest, WrittenText

RETRY: Mapping[str, Retry] = {
    TOO_LONG: "shorter",
    TRUNCATED: "shorter",
    NEAR_DUPLICATE: "different",
}
"""How to ask again, by what was wrong; for every other reason the same is asked once more."""

ANSWER_CHARACTERS = 20_000
"""What a model says beyond this is not looked at: no caption is near that long."""

_PATIENCE = 60.0


def write_conversations(
    store: Store,
    encoder: Encoder,
    writer: ConversationWriter,
    sample: CombinationSample,
    config: GenerateConfig,
    *,
    progress: Progress,
) -> Outcome:
    """Write what the store lacks of the sample; returns what became of it.

    Raises :class:`TextError` where no request can succeed or past ``max_rejects``; all outcomes
    until then are committed.
    """
    plan = Plan(
        RequestIds(
            model=writer.model,
            digest=writer.prompts.digest,
            sampling=writer.sampling,
            seed=config.seed,
        ),
        writer.instructions,
        config.texts_per_combination,
    )
    wanted = Wanted(store, sample, plan, job=JOB, retry_rejects=config.retry_rejects)
    with progress("writing texts", total=wanted.due, unit="texts") as bar:
        commits = Commits(store, encoder, writer, config, wanted=wanted, bar=bar)
        judge = _Judge(store, encoder, writer, config)
        try:
            with Asker(writer, lanes=writer.lanes) as asker:
                _Schedule(wanted, asker, judge, commits, config).run()
        finally:
            # Also after an error or Ctrl-C: whatever was answered has been paid for.
            commits.flush()
        check_rejects(commits.rejected, config.max_rejects, commits.last_reason)
    return Outcome(
        present=commits.present,
        written=commits.written,
        rejects=dict(sorted((+commits.rejects).items())),
        last_reason=commits.last_reason or "all rejected by earlier runs",
        reduced=commits.reduced,
        rejected_earlier=wanted.rejected_earlier,
    )


class _Judge:
    """Decides what becomes of an answer: taken, rejected, or asked again."""

    def __init__(
        self, store: Store, encoder: Encoder, writer: ConversationWriter, config: GenerateConfig
    ) -> None:
        def limit(text: str) -> Length:
            return text_lengths(encoder, [text])[0]

        self._writer, self._config = writer, config
        self._examples = [example.caption for example in writer.prompts.example]
        self._audit = Audit(store.labels, limit=limit, lost=config.lost_labels)
        self._last_resort = Audit(store.labels, limit=limit, lost="reduce")

    def outcome(self, chain: Chain, answer: WrittenText) -> Accepted | Rejected | TextRequest:
        """What is kept of the answer, or the request to be put next in its stead."""
        request = answer.request
        if answer.text is None:
            # Engines have tried again by themselves where that could help.
            return Rejected(chain.key, f"{UNANSWERED}{answer.reason}", answer.detail)
        verdict = self._verdict(chain, answer)
        retry = RETRY.get(verdict.reason, "again")
        # Without chance in its answers, a model says the same to the same question.
        pointless = retry == "again" and not self._writer.sampling.temperature
        last_attempt = pointless or request.attempt + 1 >= self._config.attempts
        if verdict.reason == LOST_LABELS and last_attempt and self._config.lost_labels == "retry":
            verdict = self._verdict(chain, answer, last_resort=True)
        if verdict.usable:
            return Accepted(request, verdict.text, verdict.label_ids, verdict.others)
        if last_attempt or verdict.final:
            return Rejected(chain.key, verdict.reason, verdict.detail)
        return chain.again(request, retry, verdict.text or answer.text)

    def _verdict(self, chain: Chain, answer: WrittenText, *, last_resort: bool = False) -> Verdict:
        text = answer.text or ""
        audit = self._last_resort if last_resort else self._audit
        return audit.check(
            text[:ANSWER_CHARACTERS],
            chain.label_ids,
            truncated=answer.truncated or len(text) > ANSWER_CHARACTERS,
            known=[*chain.known, *self._examples],
            instruction=self._writer.question(answer.request),
        )


class _Schedule:
    """Keeps many combinations under way, each with one request at a time."""

    def __init__(
        self, wanted: Wanted, asker: Asker, judge: _Judge, commits: Commits, config: GenerateConfig
    ) -> None:
        self._chains = wanted.chains()
        self._asker, self._judge, self._commits, self._config = asker, judge, commits, config
        self._active: dict[int, Chain] = {}
        self._ready: list[tuple[float, int, TextRequest]] = []
        self._serial = itertools.count()

    def run(self) -> None:
        """Until every text of every combination is written or given up."""
        while self._admit():
            while count := self._asker.room(len(self._ready)):
                self._asker.ask([heapq.heappop(self._ready)[-1] for _ in range(count)])
            if not (self._asker.quiet and self._commits.encode_some()):
                answer = self._asker.next(min(self._commits.seconds_left(), _PATIENCE))
                if answer is not None:
                    self._resolve(answer)
            if not self._commits.seconds_left():
                self._commits.flush()
                check_rejects(
                    self._commits.rejected, self._config.max_rejects, self._commits.last_reason
                )

    def _admit(self) -> bool:
        while len(self._active) < self._config.concurrent:
            chain = next(self._chains, None)
            if chain is None:
                break
            self._active[chain.combination_id] = chain
            self._go_on(chain)
        return bool(self._active)

    def _resolve(self, answer: WrittenText) -> None:
        chain = self._active[answer.request.combination_id]
        outcome = self._judge.outcome(chain, answer)
        if isinstance(outcome, TextRequest):
            self._put(chain, outcome)
            return
        whole = isinstance(outcome, Accepted) and outcome.label_ids == chain.label_ids
        chain.done(outcome.text if isinstance(outcome, Accepted) and whole else "")
        self._commits.add(outcome)
        self._go_on(chain)

    def _go_on(self, chain: Chain) -> None:
        request = chain.request()
        if request is None:
            del self._active[chain.combination_id]
        else:
            self._put(chain, request)

    def _put(self, chain: Chain, request: TextRequest) -> None:
        # Those that lag behind come first: a combination with many texts, one after another, must
        # not be left alone at the end, and a job that is stopped leaves an even part of each.
        heapq.heappush(self._ready, (chain.progress, next(self._serial), request))
