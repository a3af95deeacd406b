"""How long work reports its progress; the command line shows it, a library user may ignore it."""

from types import TracebackType
from typing import Protocol, Self


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
    """The default :class:`Progress`: shows nothing."""
    return _Silent()
