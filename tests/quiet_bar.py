"""A progress bar that shows nothing, for tests that look at when it is moved."""

from typing import Self


class QuietBar:
    """What a subclass does is done where a job is further."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def advance(self, amount: int = 1, **figures: float) -> None:
        """The job is further."""
