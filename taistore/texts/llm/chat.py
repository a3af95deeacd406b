"""What a chat engine is: it answers conversations, many at once, whatever model is behind it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatRequest:
    """One answer that is wanted; ``request_id`` comes back with it.

    ``max_tokens`` bounds the answer. ``temperature`` and ``seed`` go to the model as they are.
    """

    request_id: str
    messages: tuple[Message, ...]
    temperature: float
    max_tokens: int
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatReply:
    """The answer to one request: its raw text, or ``None`` with the reason and a line of detail.

    ``truncated``: the model stopped at ``max_tokens`` and not of itself.
    """

    request_id: str
    text: str | None
    truncated: bool = False
    reason: str = ""
    detail: str = ""


class ChatEngine(Protocol):
    """Answers requests; a context manager that gives back what it holds (connections, a GPU)."""

    @property
    def model(self) -> str:
        """What answers, with its version; kept in the column ``model``. Never holds a key."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def chat(self, requests: Sequence[ChatRequest]) -> Iterator[ChatReply]:
        """One reply per request, as they become ready, in any order.

        A failing request is a reply with a reason; raises :class:`TextError` where no request can
        succeed (nobody answers, the key is refused, the model does not exist).
        """
        ...
