"""What commands print: one JSON object or lines for people on stdout, progress on stderr."""

import contextlib
import json
import sys
import time
from types import TracebackType
from typing import Any, Self

import click

from taistore.progress import Progress, ProgressBar, no_progress

PLAIN_INTERVAL_S = 10.0
"""Seconds between plain progress lines where stderr is no terminal."""


class Output:
    """Where a command's result and progress go."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self.progress: Progress = no_progress if quiet or as_json else _bar_maker()

    def result(self, value: dict[str, Any], text: str) -> dict[str, Any]:
        """Print the result once: ``value`` as one JSON object with --json, else ``text``.

        Returns ``value``, so that a command which runs commands can use their results.
        """
        click.echo(json.dumps(value, ensure_ascii=False, default=str) if self._as_json else text)
        return value

    def note(self, message: str) -> None:
        """A line for people, on stderr; silent with --json."""
        if not self._as_json:
            click.echo(message, err=True)

    def flags(self) -> list[str]:
        """The flags that make a nested command show as much as this one."""
        return ["--quiet"] if self._quiet or self._as_json else []

    def nested(self) -> contextlib.AbstractContextManager[object]:
        """While a nested command runs: with --json its output must not join ours on stdout."""
        return contextlib.redirect_stdout(sys.stderr) if self._as_json else contextlib.nullcontext()


def _bar_maker() -> Progress:
    return _terminal_bar if sys.stderr.isatty() else _PlainBar


class _TqdmBar:
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


def _terminal_bar(description: str, *, total: int | None, unit: str) -> ProgressBar:
    return _TqdmBar(description, total=total, unit=unit)


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
        parts = [f"{self._description}: {self._done:,}"]
        if self._total:
            parts[0] += f" of {self._total:,}"
        parts[0] += f" {self._unit}"
        parts.append(f"{rate:,.1f}/s")
        if self._total and self._done < self._total and rate > 0:
            parts.append(f"{(self._total - self._done) / rate:,.0f} s left")
        else:
            parts.append(f"{seconds:,.1f} s")
        parts += [f"{name} {value:.4g}" for name, value in self._figures.items()]
        click.echo(", ".join(parts), err=True)
