"""How long work reports its progress: bars on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from taistore.printable import counted
from taistore.stopping import StopRequested, check, held

PLAIN_INTERVAL_S = 10.0
"""Seconds between plain progress lines where stderr is no terminal."""

Note = Callable[[str], object]
"""Takes a line for people, such as "loading encoder packaged"."""


class ProgressBar(Protocol):
    """One piece of work under way; a context manager."""

    def __enter__(self) -> Self:
        """Start showing."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Stop showing."""
        ...

    def advance(self, amount: int = 1, **figures: float) -> None:
        """``amount`` more units are done; ``figures`` (such as loss=0.1) replace earlier ones."""
        ...


class Progress(Protocol):
    """Makes progress bars."""

    def __call__(self, description: str, *, total: int | None, unit: str) -> ProgressBar:
        """A bar for ``total`` units of work (None: unknown)."""
        ...


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        return None

    def advance(self, amount: int = 1, **figures: float) -> None:
        return None


def no_progress(description: str, *, total: int | None, unit: str) -> ProgressBar:
    """The :class:`Progress` that shows nothing."""
    return _Silent()


def stderr_progress(description: str, *, total: int | None, unit: str) -> ProgressBar:
    """A bar with rate and time left on a terminal, plain lines where stderr is none."""
    shown = _TerminalBar if sys.stderr.isatty() else _PlainBar
    return shown(description, total=total, unit=unit)


def terminal_progress(description: str, *, total: int | None, unit: str) -> ProgressBar:
    """As :func:`stderr_progress` on a terminal, and nothing elsewhere: what a library may show."""
    if not sys.stderr.isatty():
        return _Silent()
    return _TerminalBar(description, total=total, unit=unit)


def stoppable(progress: Progress) -> Progress:
    """``progress`` whose bars hold signals back, and let them through after each ``advance``.

    Units are committed, or of no worth by themselves, when they are shown: a job can end there.
    """
    return progress if isinstance(progress, _Stoppable) else _Stoppable(progress)


class _Stoppable:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, description: str, *, total: int | None, unit: str) -> ProgressBar:
        shown = self._progress(description, total=total, unit=unit)
        return _StoppableBar(shown, total=total, unit=unit)


class _StoppableBar:
    def __init__(self, bar: ProgressBar, *, total: int | None, unit: str) -> None:
        self._bar, self._total, self._unit = bar, total, unit
        self._done = 0
        self._hold = held()

    def __enter__(self) -> Self:
        self._bar.__enter__()
        self._hold.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._bar.__exit__(kind, error, trace)
        try:
            self._hold.__exit__(kind, error, trace)
        except StopRequested as stop:
            # It came at the very end, when the last batch was being committed.
            stop.done = stop.done or self._said()
            raise
        if isinstance(error, StopRequested):
            # The innermost bar knows best what was being done.
            error.done = error.done or self._said()

    def advance(self, amount: int = 1, **figures: float) -> None:
        self._done += amount
        self._bar.advance(amount, **figures)
        check()

    def _said(self) -> str:
        return _so_far(self._done, self._total, self._unit)


def _so_far(done: int, total: int | None, unit: str) -> str:
    """How much of it is done.

    >>> _so_far(1, None, "rows"), _so_far(1, 6, "image")
    ('1 row', '1 of 6 images')
    """
    noun = unit.removesuffix("s")
    return f"{done:,} of {counted(total, noun)}" if total else counted(done, noun)


class _TerminalBar:
    def __init__(self, description: str, *, total: int | None, unit: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            desc=description, total=total, unit=f" {unit}", file=sys.stderr, dynamic_ncols=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._bar.close()

    def advance(self, amount: int = 1, **figures: float) -> None:
        if figures:
            self._bar.set_postfix(figures, refresh=False)
        self._bar.update(amount)


class _PlainBar:
    def __init__(self, description: str, *, total: int | None, unit: str) -> None:
        self._description = description
        self._total = total
        self._unit = unit
        self._done = 0
        self._figures: dict[str, float] = {}
        self._start = self._last = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        if error is None:
            self._print(time.monotonic())

    def advance(self, amount: int = 1, **figures: float) -> None:
        self._done += amount
        self._figures.update(figures)
        now = time.monotonic()
        if now - self._last >= PLAIN_INTERVAL_S:
            self._last = now
            self._print(now)

    def _print(self, now: float) -> None:
        seconds = max(now - self._start, 1e-9)
        rate = self._done / seconds
        done = _so_far(self._done, self._total, self._unit)
        parts = [f"{self._description}: {done}", f"{rate:,.1f}/s"]
        if self._total and self._done < self._total and rate > 0:
            parts.append(f"{(self._total - self._done) / rate:,.0f} s left")
        else:
            parts.append(f"{seconds:,.1f} s")
        parts += [f"{name} {value:.4g}" for name, value in self._figures.items()]
        sys.stderr.write(", ".join(parts) + "\n")
