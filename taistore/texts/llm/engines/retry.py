"""When to ask a server again: waiting times, one pause for all, and when to give a server up."""

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 30.0
"""Seconds that waiting times grow to."""

LONGEST_PAUSE = 600.0
"""Seconds; a server that asks for more has a daily quota, which no job should sit out."""


class Clock:
    """The time that passes between requests."""

    def now(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Wait for ``event`` that long at most; whether it came."""
        return event.wait(seconds)


CLOCK = Clock()
"""This machine's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """``retries`` further attempts, the first after about ``first_wait`` seconds, then doubling."""

    retries: int = 5
    first_wait: float = 0.5

    def wait(self, attempt: int) -> float:
        """Seconds before attempt ``attempt`` + 1 (from 0), the upper half of them random.

        Many workers fail at the same moment; chance keeps them from coming back at the same one.
        """
        longest = min(self.first_wait * 2.0**attempt, LONGEST_WAIT)
        return random.uniform(longest / 2, longest)


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, given in seconds or as a date.

    >>> retry_after("7")
    7.0
    >>> retry_after("soon") is None
    True
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=UTC)
    return max(0.0, (when - (now or datetime.now(UTC))).total_seconds())


class Gate:
    """Stops all workers while a server wants a pause, and for good once it is shut."""

    def __init__(self, *, clock: Clock = CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._shut = threading.Event()
        self._open_at = 0.0

    @property
    def is_shut(self) -> bool:
        """Whether workers must stop."""
        return self._shut.is_set()

    def shut(self) -> None:
        """Let nobody through any more and wake who waits."""
        self._shut.set()

    def pause(self, seconds: float) -> None:
        """Nobody passes before ``seconds`` from now; a longer pause stands."""
        with self._lock:
            self._open_at = max(self._open_at, self._clock.now() + seconds)

    def sleep(self, seconds: float) -> bool:
        """Wait for oneself; False when the gate was shut meanwhile."""
        return not self._clock.wait(self._shut, seconds)

    def enter(self) -> bool:
        """Wait until the pause is over; False when the gate is shut."""
        while not self._shut.is_set():
            with self._lock:
                left = self._open_at - self._clock.now()
            if left <= 0:
                return True
            # Some after others, so that a pause does not end in another rush.
            self._clock.wait(self._shut, left + random.uniform(0, min(0.25, left)))
        return False


class Trial:
    """Counts requests that came to nothing by their reason, until the first that went well.

    What happens to every request from the first on is the model's or the settings' fault.
    """

    def __init__(self, *, requests: int) -> None:
        self._lock = threading.Lock()
        self._limit = requests
        self._passed = False
        self._failed: Counter[str] = Counter()

    def passed(self) -> None:
        """A request went well."""
        self._passed = True

    def failed(self, reason: str) -> bool:
        """A request came to nothing; True when too many did and none went well."""
        with self._lock:
            self._failed[reason] += 1
            return not self._passed and self._failed[reason] >= self._limit


class Health:
    """Counts failures in a row; any answer of the server, good or bad, ends the row.

    A server is given up when connecting failed ``connects`` times, or ``requests`` requests ended
    without any answer. One poisoned request that makes the server drop its connection is not
    enough for either. Rate limits are a row of their own, which any other answer ends: after
    ``limited`` seconds of them, or ``requests`` requests that ended so.
    """

    def __init__(
        self, *, connects: int, requests: int, limited: float, clock: Clock = CLOCK
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limits = (connects, requests, requests)
        self._rows = [0, 0, 0]
        self._patience = limited
        self._limited_since: float | None = None

    def answered(self) -> None:
        """The server answered something other than a rate limit."""
        with self._lock:
            self._rows = [0, 0, 0]
            self._limited_since = None

    def rate_limited(self) -> bool:
        """The server set a rate limit; True when it has done nothing else for too long."""
        with self._lock:
            self._rows[:2] = 0, 0
            now = self._clock.now()
            if self._limited_since is None:
                self._limited_since = now
            return now - self._limited_since >= self._patience

    def not_connected(self) -> bool:
        """Connecting failed; True when it is time to give up."""
        return self._count(0)

    def request_lost(self) -> bool:
        """A request ended without an answer; True when it is time to give up."""
        return self._count(1)

    def limit_lost(self) -> bool:
        """A request ended with a rate limit; True when it is time to give up."""
        return self._count(2)

    def _count(self, row: int) -> bool:
        with self._lock:
            self._rows[row] += 1
            return self._rows[row] >= self._limits[row]
