"""Puts requests to one OpenAI-compatible server, many at once, and again where that may help.

What is asked and what an answer holds is for those who derive from :class:`Asking`: captions in
:mod:`taistore.texts.llm.engines.openai`, pictures in
:mod:`taistore.synthetic.writers.openai_images`.
"""

import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath
from types import TracebackType
from typing import ClassVar, Generic, Protocol, Self, TypeVar

from taistore.errors import TextError
from taistore.stopping import check, woken_by
from taistore.texts.llm.engines.completions import (
    AGAIN,
    ReplyError,
    ServerError,
    model_names,
    one_line,
    server_error,
)
from taistore.texts.llm.engines.endpoint import Endpoint, key_from_environment
from taistore.texts.llm.engines.retry import (
    CLOCK,
    LONGEST_PAUSE,
    Clock,
    Gate,
    Health,
    RetryPolicy,
    Trial,
    retry_after,
)
from taistore.texts.llm.engines.stops import TRIAL, Stops
from taistore.texts.llm.engines.transport import (
    MAX_BYTES,
    Answer,
    NoAnswerError,
    NotConnectedError,
    TooLargeError,
    Transport,
)

PATIENCE = 10
"""Rate limits are kept, not failures: they may be met this many times as often as ``retries``."""

ONE_OR_ALL = (401, 403, 404)
"""Said of a key or a model, and by some servers of one prompt that their moderation stops."""


class Reply(Protocol):
    """What came of a request; without a ``reason`` it went well."""

    @property
    def reason(self) -> str: ...

    @property
    def detail(self) -> str: ...


Asked = TypeVar("Asked")
Got = TypeVar("Got", bound=Reply)


class _StoppedError(Exception):
    """The engine is closing; nobody wants this reply any more."""


class _Woken:
    """A signal asks the job to stop."""


@dataclass(frozen=True, slots=True)
class _Call(Generic[Got]):
    """What one call of ``ask`` shares with the workers; ``over`` once nobody reads ``done``."""

    done: "queue.SimpleQueue[Got | _Woken | BaseException]" = field(
        default_factory=queue.SimpleQueue
    )
    over: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed and whether another one may help; ``wait`` is the server's wish."""

    reason: str
    detail: str
    again: bool = True
    wait: float | None = None
    answered: bool = True
    without: frozenset[str] | None = None


class Asking(ABC, Generic[Asked, Got]):
    """One server, and ``concurrency`` requests to it under way at once.

    ``base_url`` ends before the name of what is asked (``http://localhost:8000/v1``). ``timeout``
    bounds one attempt in seconds, from connecting to the last byte, ``most`` an answer in bytes;
    after a failure that may pass, up to ``retries`` further attempts follow, the first about
    ``first_wait`` seconds later on ``clock``.

    Entering asks the server for its models and raises :class:`TextError` when nobody answers; it is
    entered once.
    """

    ahead: ClassVar[int] = 8
    """Replies per connection that may wait for whoever reads them before requests stop going out.
    """
    what: ClassVar[str] = "language model"
    needs_model: ClassVar[bool] = True
    """Whether a server that lists no model, or several, must be told which one."""

    def __init__(
        self,
        base_url: str,
        model: str = "",
        *,
        concurrency: int = 8,
        timeout: float = 120.0,
        retries: int = 5,
        first_wait: float = 0.5,
        clock: Clock = CLOCK,
        most: int = MAX_BYTES,
    ) -> None:
        if concurrency < 1 or timeout <= 0 or retries < 0 or first_wait <= 0:
            raise TextError(
                "concurrency, timeout and first_wait must be positive and retries at least 0, "
                f"not {concurrency}, {timeout:g}, {first_wait:g} and {retries}"
            )
        self._key = key_from_environment()
        self._transport = Transport(
            Endpoint.parse(base_url), seconds=timeout, key=self._key, most=most
        )
        self._stops = Stops(self._transport.hide(str(self._transport.endpoint)), self.what)
        self._asked_for = model
        self._concurrency = concurrency
        self._policy = RetryPolicy(retries=retries, first_wait=first_wait)
        self._health = Health(
            connects=(retries + 1) * concurrency,
            requests=max(3, concurrency),
            limited=LONGEST_PAUSE,
            clock=clock,
        )
        self._trial = Trial(requests=TRIAL)
        self._gate = Gate(clock=clock)
        self._without: frozenset[str] = frozenset()
        self._probing = threading.Lock()
        self._served_at: float | None = None
        self._pool: ThreadPoolExecutor | None = None
        self.others: tuple[str, ...] = ()
        """What the server lists where it does not list the model that was asked for; some servers
        answer to any name."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._transport.endpoint)!r}, {self._asked_for!r})"

    @property
    def model(self) -> str:
        """The model's name; of a path on the server's disk only the last part."""
        name = self._transport.hide(self._asked_for)
        return PurePath(name).name if name.startswith("/") else name

    def __enter__(self) -> Self:
        try:
            self._settle_model(self._served_models())
        except BaseException:
            self._transport.close()
            raise
        self._pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="ask")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._gate.shut()
        self._transport.abort()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._transport.close()

    def ask(self, requests: Sequence[Asked]) -> Iterator[Got]:
        """One reply per request as they become ready; requests are taken when there is room.

        Raises :class:`TextError` when no further request can succeed; replies that were under way
        then are lost, and asking again for what is missing loses nothing else. In the main thread a
        signal that a job holds back (:mod:`taistore.stopping`) ends the waiting.
        """
        call: _Call[Got] = _Call()
        waiting = iter(requests)
        under_way = 0
        # Called in another thread, it is that thread's reader who is woken.
        stoppable = threading.current_thread() is threading.main_thread()
        with woken_by(lambda: call.done.put(_Woken())) if stoppable else nullcontext():
            if stoppable:
                check()
            try:
                while True:
                    if self._pool is None:
                        raise RuntimeError("the engine is not open: use it in a with statement")
                    for request in islice(waiting, self._concurrency * self.ahead - under_way):
                        self._pool.submit(self._work, request, call)
                        under_way += 1
                    if not under_way:
                        return
                    outcome = call.done.get()
                    if isinstance(outcome, _Woken):
                        check()
                        continue
                    under_way -= 1
                    if isinstance(outcome, BaseException):
                        raise outcome
                    yield outcome
            finally:
                # Whoever asked has gone, or nobody can be answered: nothing more goes out.
                call.over.set()

    @abstractmethod
    def _send(self, request: Asked, without: frozenset[str]) -> Answer:
        """Put a request, without the fields of these names; raises :class:`NoAnswerError`."""

    @abstractmethod
    def _read(self, request: Asked, body: bytes) -> Got:
        """The reply in a 200 answer; raises :class:`ReplyError` when its form is wrong.

        And :class:`NoAnswerError` where more is asked for and does not come.
        """

    @abstractmethod
    def _failed(self, request: Asked, reason: str, detail: str) -> Got:
        """What a request came to that has no reply."""

    @abstractmethod
    def _harmless(self, request: Asked) -> Asked:
        """The same request with words that no moderation stops."""

    @abstractmethod
    def _refused_fields(self, said: ServerError) -> frozenset[str]:
        """Fields to leave out where the server refuses a request; none: it is final."""

    def _why_refused(self, said: ServerError) -> str:
        """The reason kept of a request that is refused for good."""
        del said
        return "refused_request"

    def _settle_model(self, served: list[str]) -> None:
        if self._asked_for:
            known = {form for name in served for form in (name, name.partition(":")[0])}
            if self._asked_for not in known:
                self.others = tuple(map(self._transport.hide, served))
            return
        if len(served) != 1:
            if not self.needs_model:
                return
            listed = ", ".join(served[:5]) or (
                "none: is it an OpenAI-compatible server, and the base URL right (most end in /v1)?"
            )
            raise TextError(f"name a model; the server at {self._stops.where} lists {listed}")
        self._asked_for = served[0]

    def _served_models(self) -> list[str]:
        try:
            answer = self._transport.send("GET", "/models")
        except NoAnswerError as error:
            raise self._stops.down(error.detail) from error
        if answer.status == 200:
            return model_names(answer.body)
        # Some servers have no list, and some keys may chat but not list.
        if answer.status not in (403, 404):
            self._raise_for_all(answer)
        return []

    def _work(self, request: Asked, call: _Call[Got]) -> None:
        try:
            call.done.put(self._reply(request, call))
        except BaseException as error:
            # First in the queue, so that it is what the caller hears of.
            call.done.put(error)
            call.over.set()

    def _reply(self, request: Asked, call: _Call[Got]) -> Got:
        """Ask until there is a reply, a refusal, or no attempt is left."""
        failures = limited = 0
        without = self._without
        while True:
            if not self._gate.enter() or call.over.is_set():
                raise _StoppedError
            outcome = self._attempt(request, without | self._without)
            if not isinstance(outcome, Failure):
                return self._tried(outcome)
            if self._gate.is_shut:
                raise _StoppedError
            if outcome.without is not None:
                without = outcome.without
                continue
            if outcome.reason == "rate_limited":
                limited += 1
            else:
                failures += 1
            over = failures > self._policy.retries or limited > self._policy.retries * PATIENCE
            if over or not outcome.again:
                return self._lost(request, outcome)
            # Rate limits are the account's and Retry-After the server's word: all wait.
            if outcome.wait is not None:
                self._gate.pause(outcome.wait)
            elif outcome.reason == "rate_limited":
                self._gate.pause(self._policy.wait(limited - 1))
            else:
                self._gate.sleep(self._policy.wait(failures - 1))

    def _lost(self, request: Asked, failure: Failure) -> Got:
        if failure.reason == "rate_limited" and self._health.limit_lost():
            raise self._stops.limited(failure.detail)
        if not failure.answered and self._health.request_lost():
            raise self._stops.silent(failure.detail)
        return self._tried(self._failed(request, failure.reason, failure.detail))

    def _tried(self, reply: Got) -> Got:
        """``reply``; raises when nothing but such replies has come."""
        if not reply.reason:
            self._trial.passed()
        elif (error := self._stops.on_trial(reply.reason, reply.detail)) and self._trial.failed(
            reply.reason
        ):
            raise error
        return reply

    def _attempt(self, request: Asked, without: frozenset[str]) -> Got | Failure:
        try:
            return self._answered(request, without)
        except TooLargeError as error:
            self._health.answered()
            return Failure(error.reason, error.detail, again=False)
        except NotConnectedError as error:
            if self._health.not_connected():
                raise self._stops.silent(error.detail) from error
            return Failure(error.reason, error.detail, answered=False)
        except NoAnswerError as error:
            return Failure(error.reason, error.detail, answered=False)

    def _answered(self, request: Asked, without: frozenset[str]) -> Got | Failure:
        sent_at = time.monotonic()
        answer = self._send(request, without)
        if answer.status != 429:
            self._health.answered()
        if answer.status == 200:
            try:
                reply = self._read(request, answer.body)
            except ReplyError as error:
                return Failure("invalid_reply", self._transport.hide(str(error)))
            self._served_at = time.monotonic()
            # Only what an answer confirms becomes everybody's.
            self._without |= without
            return reply
        if answer.status in ONE_OR_ALL:
            self._raise_unless_alone(request, answer, without=without, sent_at=sent_at)
        else:
            self._raise_for_all(answer)
        return self._refusal(answer, without)

    def _raise_unless_alone(
        self, request: Asked, answer: Answer, *, without: frozenset[str], sent_at: float
    ) -> None:
        """Raise :class:`TextError` unless others are answered where this request is refused.

        Where nobody has been answered since it went out, the same request with harmless words
        tells: a key may be withdrawn in the middle of a job, and a job may begin with the one
        prompt that no moderation lets through.
        """
        if answer.status == 401 and self._served_at is None:
            self._raise_for_all(answer)
        with self._probing:
            if self._served_at is not None and self._served_at > sent_at:
                return
            try:
                probe = self._send(self._harmless(request), without)
            except NoAnswerError:
                return
            if probe.status == 200:
                self._served_at = time.monotonic()
            else:
                self._raise_for_all(probe)

    def _refusal(self, answer: Answer, without: frozenset[str]) -> Failure:
        """What an answer other than 200 means for this request."""
        said = server_error(answer.body)
        detail = self._transport.hide(f"{answer.status} {one_line(answer.phrase)}: {said.message}")
        if answer.status in AGAIN:
            wait = retry_after(answer.headers.get("retry-after"))
            if wait is not None and wait > LONGEST_PAUSE:
                raise self._stops.asked_to_wait(wait)
            if answer.status != 429:
                return Failure("server_error", detail, wait=wait)
            if self._health.rate_limited():
                raise self._stops.limited(detail)
            return Failure("rate_limited", detail, wait=wait)
        fields = self._refused_fields(said) if answer.status in (400, 422) else frozenset()
        more = fields - without
        return Failure(
            self._why_refused(said), detail, again=False, without=without | more if more else None
        )

    def _raise_for_all(self, answer: Answer) -> None:
        """Raise :class:`TextError` for an answer that every request would get."""
        said = server_error(answer.body)
        if error := self._stops.answer(answer.status, said, model=self.model):
            raise error
