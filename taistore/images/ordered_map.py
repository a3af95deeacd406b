"""``map`` in threads, in order and bounded; an item that takes too long is left behind.

Daemon threads, not a pool: a thread that is inside a C library cannot be ended, and one that hangs
must hold up neither the items behind it nor the end of the process.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from taistore.errors import ImageError

READ_BYTES = 64 * 2**20
"""Bytes of files held in one place: read ahead, in a block, or waiting to be decoded.

Three such places make 192 MiB for a whole job, whatever the photos' size: where these bytes would
be fewer files than there are threads, a place holds one file a thread instead.
"""

LATE_SECONDS = 120.0
"""How long a job waits for one photo, from reading to pixels, once all before it are done."""

MAX_LEFT_BEHIND = 8
"""Photos of a process that may be left behind at a time: each holds a thread and its memory."""

_SLICES = 20

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    ahead: int,
    cost: Callable[[T], int] | None = None,
    late: Callable[[T], R] | None = None,
    seconds: float = LATE_SECONDS,
) -> Generator[R, None, None]:
    """``map`` in ``workers`` threads, in order, never more than ``ahead`` items ahead.

    ``cost`` gives the bytes that an item and its result hold: of those ahead they sum to
    :data:`READ_BYTES` at most, but one item a thread is always under way. ``items`` is advanced
    in the calling thread. Closing the generator ends the threads.

    With ``late``, its result stands for an item that is waited for longer than ``seconds``; the
    thread is left to itself, and a fresh one takes its place. Raises :class:`ImageError` where
    that would be more than :data:`MAX_LEFT_BEHIND` at a time.
    """
    pending: deque[_Job[T, R]] = deque()
    held = 0
    crew = _Crew(function, workers, late, seconds)
    try:
        for item in items:
            size = 0 if cost is None else cost(item)
            while len(pending) >= ahead or (len(pending) >= workers and held + size > READ_BYTES):
                first = pending.popleft()
                held -= first.size
                yield crew.result(first)
            pending.append(crew.submit(item, size))
            held += size
            del item  # its bytes may be let go of as soon as the thread is done with them
        while pending:
            yield crew.result(pending.popleft())
    finally:
        crew.close()


class _Job(Generic[T, R]):
    """An item, and what became of it once ``done`` is set."""

    def __init__(self, item: T, size: int) -> None:
        self.size = size
        self.thread: threading.Thread | None = None
        self.done = threading.Event()
        self._item: list[T] = [item]
        self._result: list[R] = []
        self._error: BaseException | None = None

    @property
    def item(self) -> T | None:
        """The item, None once it is done."""
        return next(iter(self._item), None)

    def run(self, function: Callable[[T], R]) -> None:
        self.thread = threading.current_thread()
        try:
            self._result.append(function(self._item[0]))
        except BaseException as error:
            self._error = error
        self._item.clear()
        self.done.set()

    def result(self) -> R:
        if self._error is not None:
            raise self._error
        return self._result.pop()


class _Crew(Generic[T, R]):
    """The threads of one map."""

    def __init__(
        self,
        function: Callable[[T], R],
        workers: int,
        late: Callable[[T], R] | None,
        seconds: float,
    ) -> None:
        self._function = function
        self._late = late
        self._slice = seconds / _SLICES
        self._jobs: SimpleQueue[_Job[T, R] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        for _ in range(workers):
            self._hire()

    def submit(self, item: T, size: int) -> "_Job[T, R]":
        job: _Job[T, R] = _Job(item, size)
        self._jobs.put(job)
        return job

    def result(self, job: "_Job[T, R]") -> R:
        if self._late is None:
            job.done.wait()
            return job.result()
        waited = 0
        # Slices are counted, not a clock read: a process that was stopped has not used its time.
        while not job.done.wait(self._slice):
            waited += job.thread is not None
            item = job.item
            if waited >= _SLICES and item is not None:
                self._leave_behind(job)
                return self._late(item)
        return job.result()

    def close(self) -> None:
        """End the threads; what they are doing is waited for, but not longer than for a result."""
        deadline = time.monotonic() + self._slice * _SLICES
        while True:
            try:
                self._jobs.get_nowait()
            except Empty:
                break
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(None if self._late is None else max(0, deadline - time.monotonic()))

    def _hire(self) -> None:
        thread = threading.Thread(target=self._work, name="taistore-images", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        here = threading.current_thread()
        while here in self._threads and (job := self._jobs.get()) is not None:
            job.run(self._function)
            del job

    def _leave_behind(self, job: "_Job[T, R]") -> None:
        thread = job.thread
        if thread is None:
            return
        _left_behind[:] = [other for other in _left_behind if other.is_alive()]
        if len(_left_behind) >= MAX_LEFT_BEHIND:
            raise ImageError(
                f"{MAX_LEFT_BEHIND} photos have not come to an end: take out those that are set "
                "aside as too_slow and run it again",
                reason="too_slow",
            )
        _left_behind.append(thread)
        self._threads.remove(thread)
        self._hire()


_left_behind: list[threading.Thread] = []
