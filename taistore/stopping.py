"""Ends a job between two batches when a signal asks for it, so that no work is lost.

:func:`stop_on_signals` makes :class:`StopRequested` of SIGINT, SIGTERM and SIGHUP. While a job
holds them (:func:`held`) the first one waits until the batch under way is committed; a second one
ends the process at once, as a kill does, which every job survives. Programs that do not call
:func:`stop_on_signals` keep Python's own way, KeyboardInterrupt.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""What asks a job to stop; Windows knows no SIGHUP."""


class StopRequested(BaseException):
    """A signal asked the job to stop: no error, and nothing that ``except Exception`` catches.

    ``number`` is the signal's. ``done`` says how far the work was, such as "64 of 200 images";
    ``kept`` and ``go_on`` what was kept and the arguments of the command that goes on with it,
    where that is not the same command again.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number
        self.done = ""
        self.kept = ""
        self.go_on: tuple[str, ...] = ()


class _State:
    """Of this process: signals belong to all of it."""

    def __init__(self) -> None:
        self.holds = 0
        self.asked: int | None = None
        self.wakers: list[Callable[[], object]] = []


_state = _State()


@contextlib.contextmanager
def stop_on_signals() -> Iterator[None]:
    """Within the block a signal raises :class:`StopRequested`, at once or where it is let through.

    Handlers are put back at the end. A signal that is ignored stays so, as ``nohup`` wants it.
    Outside of the main thread nothing changes: Python handles signals there alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, lambda n, _: _ask(n, before))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _state.asked = None


def _ask(number: int, ours: dict[int, Any]) -> None:
    # The system's own handling works even while Python's main thread waits in foreign code.
    for each in ours:
        signal.signal(each, signal.SIG_DFL)
    _state.asked = number
    if not _state.holds:
        raise StopRequested(number)
    for wake in _state.wakers:
        wake()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let signals wait for :func:`check`, or for the end of the outermost such block."""
    _state.holds += 1
    try:
        yield
    finally:
        _state.holds -= 1
    if not _state.holds:
        check()


def stop_requested() -> bool:
    """Whether a signal waits to be let through."""
    return _state.asked is not None


def check() -> None:
    """Let a waiting signal through, where a job can end: raises :class:`StopRequested`."""
    if _state.asked is not None:
        raise StopRequested(_state.asked)


@contextlib.contextmanager
def woken_by(wake: Callable[[], object]) -> Iterator[None]:
    """Call ``wake`` when a signal comes, for a job that may be waiting.

    It runs in a signal handler: it may put something into a ``queue.SimpleQueue``, and little else.
    """
    _state.wakers.append(wake)
    try:
        yield
    finally:
        _state.wakers.remove(wake)
