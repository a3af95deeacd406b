"""Keeps a text writer busy, in threads of its own, while the job checks and stores its answers."""

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from taistore.texts.writer import TextRequest, TextWriter, WrittenText

BATCH_WAVE = 512
"""Requests of the first call where there is one call at a time: the engine fills its batch from
them. Later calls hold twice as many for as long as one takes less than ``WAVE_SECONDS``: an engine
runs half empty at the end of each, and a job that is killed loses one."""

WAVE_SECONDS = 20.0
MOST_WAVE = 8192

LANE_WAVE = 2
"""Requests of a call where there are several: few, so that the job decides what comes next."""

NO_REPLY = "no_reply"


def answers(writer: TextWriter, wave: Sequence[TextRequest]) -> Iterator[WrittenText]:
    """What the writer answers: to each request once, whatever a careless writer leaves out."""
    waiting = {request.request_id: request for request in wave}
    for answer in writer.write(wave):
        if waiting.pop(answer.request.request_id, None) is not None:
            yield answer
    for request in waiting.values():
        yield WrittenText(request=request, text=None, reason=NO_REPLY)


class _WaveDone:
    """A writer has answered everything that it was given in one call."""


class _Woken:
    """Somebody wants the job's attention."""


class WriterThreads:
    """Gives waves of requests to a writer; a context manager that leaves no wave behind.

    As many calls of :meth:`TextWriter.write` as the writer has ``lanes`` are under way at once, and
    one more wave waits, so that neither a slow answer nor a commit leaves the model without work.
    More would wait for nothing: the texts of a combination are asked for one after another.
    """

    def __init__(self, writer: TextWriter) -> None:
        lanes = writer.lanes
        self._writer = writer
        self._waves: queue.SimpleQueue[Sequence[TextRequest] | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[WrittenText | _WaveDone | _Woken | BaseException]
        self._answers = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._lanes = lanes
        self._wave = BATCH_WAVE if lanes == 1 else LANE_WAVE
        self._under_way = 0
        # Daemons: a model that never answers must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._lane, name=f"writer-{i}", daemon=True)
            for i in range(lanes)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._stopped.set()
        for _ in self._threads:
            self._waves.put(None)

    def room(self, ready: int) -> int:
        """How many of ``ready`` requests to ask now; 0: not yet.

        A lane without work gets whatever is ready; the wave that waits must be a full one, or a
        batch engine would alternate full and tiny ones.
        """
        spare = self._under_way == self._lanes and ready >= self._wave
        return min(ready, self._wave) if self._under_way < self._lanes or spare else 0

    def ask(self, wave: Sequence[TextRequest]) -> None:
        """Give one wave; its answers come in any order, mixed with those of others."""
        self._under_way += 1
        self._waves.put(wave)

    @property
    def quiet(self) -> bool:
        """Whether no answer waits to be taken."""
        return self._answers.empty()

    def next(self, timeout: float) -> WrittenText | None:
        """The next answer, or None where a wave has ended, :meth:`wake` was called or ``timeout``
        seconds have passed.

        Raises what the writer raised.
        """
        try:
            answer = self._answers.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, _Woken):
            return None
        if isinstance(answer, _WaveDone):
            self._under_way -= 1
            return None
        return answer

    def left(self) -> Iterator[WrittenText]:
        """Answers that are there, for a job that stops: each has been paid for."""
        while not self.quiet:
            answer = self.next(0.0)
            if answer is not None:
                yield answer

    def wake(self) -> None:
        """End the wait of :meth:`next`; may be called from a signal handler."""
        self._answers.put(_Woken())

    def _lane(self) -> None:
        try:
            while (wave := self._waves.get()) is not None and not self._stopped.is_set():
                started = time.monotonic()
                for answer in answers(self._writer, wave):
                    self._answers.put(answer)
                    if self._stopped.is_set():
                        return
                seconds = time.monotonic() - started
                if self._lanes == 1 and len(wave) == self._wave and seconds < WAVE_SECONDS:
                    self._wave = min(2 * self._wave, MOST_WAVE)
                self._answers.put(_WaveDone())
        except BaseException as error:
            self._answers.put(error)


class SameThread:
    """A writer that answers at once, called where the job runs; as :class:`WriterThreads`."""

    quiet = False
    """Nobody waits: texts are encoded when they are committed, many at a time."""

    def __init__(self, writer: TextWriter) -> None:
        self._writer = writer
        self._answers: deque[WrittenText] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.clear()

    def room(self, ready: int) -> int:
        """How many of ``ready`` requests to ask now: none while answers wait to be taken."""
        return 0 if self._answers else min(ready, MOST_WAVE)

    def ask(self, wave: Sequence[TextRequest]) -> None:
        """Have one wave answered."""
        self._answers.extend(answers(self._writer, wave))

    def next(self, timeout: float) -> WrittenText | None:
        """The next answer; there is always one after a wave, so that nothing is waited for."""
        return self._answers.popleft() if self._answers else None

    def left(self) -> Iterator[WrittenText]:
        """None: what answers at once costs less to ask again than to store now."""
        return iter(())

    def wake(self) -> None:
        """Nothing: :meth:`next` never waits."""


def start_writer(writer: TextWriter) -> WriterThreads | SameThread:
    """What calls the writer, in as many threads as it takes."""
    return WriterThreads(writer) if writer.lanes else SameThread(writer)
