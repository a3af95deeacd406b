"""What a text writer is: it puts label combinations into words, a batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Retry = Literal["", "shorter", "different"]
"""Why a text is asked for again: the last one was too long, or the combination has it already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRequest:
    """One text that is wanted for one combination.

    ``turn`` counts the texts of a combination from 0; the turns ``conversation * n ...
    conversation * n + n - 1`` (n texts per combination) belong to one conversation, so that a
    chat model may be asked for "another, different caption". ``attempt`` > 0 asks once more for a
    text that was not usable, ``retry`` says why. ``instruction`` names the writer's instruction.
    """

    combination_id: int
    label_ids: tuple[int, ...]
    turn: int
    seed: int
    conversation: int = 0
    instruction: str = ""
    attempt: int = 0
    retry: Retry = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenText:
    """The answer to one request: a text, or ``None`` with the reason kept in ``rejects``."""

    request: TextRequest
    text: str | None
    reason: str = ""


class TextWriter(Protocol):
    """Turns requests into texts; ``template`` now, language models later."""

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

    def write(self, requests: Sequence[TextRequest]) -> list[WrittenText]:
        """One answer per request, in their order.

        First attempts of one conversation come in one batch, turns ascending. A writer never
        raises for a single text: it answers ``text=None`` with a reason.
        """
        ...
