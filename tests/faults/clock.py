"""Clocks for waiting times: one that passes at once, one that a test puts forward."""

import threading

from taistore.texts.llm.engines.retry import Clock


class QuickClock(Clock):
    """Whoever waits puts it forward and goes on; ``waits`` keeps how long each wait was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0.0
        self.waits: list[float] = []

    def now(self) -> float:
        """Seconds waited so far."""
        with self._lock:
            return self._now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """No time goes by."""
        with self._lock:
            self._now += seconds
            self.waits.append(seconds)
        return event.is_set()


class StoppedClock(Clock):
    """Whoever waits is held until a test puts it forward."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._now = 0.0
        self._waiting = 0

    def now(self) -> float:
        """Seconds put forward so far."""
        with self._changed:
            return self._now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Until the clock was put forward by ``seconds``."""
        with self._changed:
            end = self._now + seconds
            self._waiting += 1
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._now >= end, timeout=20)
            self._waiting -= 1
        return event.is_set()

    def wait_for(self, waiting: int) -> None:
        """Until so many threads wait."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._waiting >= waiting, timeout=20)

    def put_forward(self, seconds: float) -> None:
        """Let time pass."""
        with self._changed:
            self._now += seconds
            self._changed.notify_all()
