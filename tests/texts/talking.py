"""A chat engine for tests: deterministic, with the vices of real models, and no model behind it.

An answer depends on the request alone (its messages, seed and temperature), never on what else was
asked or when, so that jobs that were killed can be compared with jobs that were not.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from random import Random
from types import TracebackType
from typing import Self

from taistore.texts.llm.chat import ChatReply, ChatRequest
from tests.fakes import COLOURS

PLACES = ("on a hill", "near the sea", "in a garden", "at night", "under a bridge", "by the road")
THINGS = ("box", "boat", "flag", "wall", "hat", "bird", "kite", "door", "van", "cup")


class TalkingEngine:
    """Implements :class:`taistore.texts.llm.chat.ChatEngine` for label sets of colours.

    ``vices`` makes every third answer or so wrapped, too long, cut off, a refusal, without one of
    its labels, or none at all; without them every answer is a good caption. ``before`` is called
    ahead of each answer. ``asked`` keeps the requests.
    """

    def __init__(
        self,
        *,
        model: str = "talker-1",
        vices: bool = True,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._model, self._vices, self._before = model, vices, before
        self._lock = threading.Lock()
        self.asked: list[ChatRequest] = []
        self.open = False

    @property
    def model(self) -> str:
        """A name that tells its version."""
        return self._model

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.open = False

    def chat(self, requests: Sequence[ChatRequest]) -> Iterator[ChatReply]:
        """Replies in an order of their own."""
        shuffled = list(requests)
        Random(len(requests)).shuffle(shuffled)
        for request in shuffled:
            with self._lock:
                self.asked.append(request)
            self._before()
            yield self.reply(request)

    def reply(self, request: ChatRequest) -> ChatReply:
        """The answer to one request."""
        spoken = "|".join(f"{m.role}:{m.content}" for m in request.messages)
        content = f"{spoken}|{request.seed}|{request.temperature}"
        digest = hashlib.blake2b(content.encode(), digest_size=8).digest()
        random = Random(int.from_bytes(digest, "big"))
        colours = _colours(request)
        shorter = "shorter" in request.messages[-1].content
        if not self._vices or shorter:
            return _said(request, _caption(colours, random))
        return self._with_vices(request, colours, random)

    def _with_vices(self, request: ChatRequest, colours: list[str], random: Random) -> ChatReply:
        vice = random.randrange(24)
        if vice == 0:
            return ChatReply(
                request_id=request.request_id, text=None, reason="server_error", detail="500"
            )
        if vice == 1:
            return _said(request, "I'm sorry, but I cannot help with that request.")
        if vice == 2:
            return _said(request, _caption(colours, random)[:-1] + " and more" * 40 + ".")
        if vice == 3:
            return _said(request, _caption(colours, random).rsplit(" ", 3)[0], truncated=True)
        if vice in (4, 5):
            return _said(request, f'Sure! Here is a caption: "{_caption(colours, random)}"')
        if vice in (6, 7, 8) and len(colours) > 1:
            # Few words: captions of different combinations end as the same text.
            return _said(request, f"A {colours[0]} {random.choice(THINGS[:3])} in the sun.")
        return _said(request, _caption(colours, random))


def _colours(request: ChatRequest) -> list[str]:
    for message in reversed(request.messages):
        if message.role == "user":
            words = message.content.replace(",", " ").replace(".", " ").split()
            named = [word for word in words if word in COLOURS]
            if named:
                return named
    raise ValueError("no question names a colour")


def _caption(colours: Sequence[str], random: Random) -> str:
    parts = [f"a {colour} {random.choice(THINGS)}" for colour in colours]
    text = f"{' and '.join(parts)} {random.choice(PLACES)}."
    return text[0].upper() + text[1:]


def _said(request: ChatRequest, text: str, *, truncated: bool = False) -> ChatReply:
    return ChatReply(request_id=request.request_id, text=text, truncated=truncated)
