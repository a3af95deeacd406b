"""What a text writer is: it puts label combinations into words, a batch at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Retry = Literal["", "shorter", "different", "again"]
"""Why a text is asked for again: the last was too long, the combination has it, it was no good."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRequest:
    """One text that is wanted for one combination.

    ``turn`` counts the texts of a combination from 0; the turns ``conversation * n ...
    conversation * n + n - 1`` (n texts per combination) belong to one conversation, so that a
    chat model may be asked for "another, different caption". ``attempt`` > 0 asks once more for a
    text that was not usable, ``retry`` says why. ``instruction`` names the writer's instruction.

    For writers that hold conversations: ``request_id`` comes back with the answer, ``earlier`` are
    the texts of this conversation so far and ``last`` is the text that was not usable.
    """

    combination_id: int
    label_ids: tuple[int, ...]
    turn: int
    seed: int
    conversation: int = 0
    instruction: str = ""
    attempt: int = 0
    retry: Retry = ""
    request_id: str = ""
    earlier: tuple[str, ...] = ()
    last: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenText:
    """The answer to one request: a text, or ``None`` with the reason kept in ``rejects``.

    ``truncated``: the writer had to stop in the middle.
    """

    request: TextRequest
    text: str | None
    reason: str = ""
    detail: str = ""
    truncated: bool = False


class TextWriter(Protocol):
    """Turns requests into texts: by patterns, or by a language model in conversations."""

    @property
    def name(self) -> str:
        """Stored in the column ``writer``: "template", "vllm", "openai"."""
        ...

    @property
    def model(self) -> str:
        """Stored in the column ``model``: what answers, with its version."""
        ...

    @property
    def instructions(self) -> Sequence[str]:
        """Names of the instructions that conversations take turns with; at least one."""
        ...

    def write(self, requests: Sequence[TextRequest]) -> Iterable[WrittenText]:
        """One answer per request, in any order, each as soon as it is there.

        A writer never raises for a single text: it answers ``text=None`` with a reason.
        """
        ...
