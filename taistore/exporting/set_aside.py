"""Why one photo or sidecar is left as it is, while the job goes on."""

from typing import NamedTuple


class SetAsideError(Exception):
    """The reason, in a few words that follow a path."""


class SetAside(NamedTuple):
    """A photo or a sidecar that was left alone, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
