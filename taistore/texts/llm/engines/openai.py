"""Chat through any OpenAI-compatible server: ``vllm serve``, llama.cpp, Ollama, hosted ones.

Requests go out over a fixed number of kept connections, replies come back as they are ready. The
key is read from ``OPENAI_API_KEY`` and sent to the base URL, nowhere else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from taistore.texts.llm.chat import ChatReply, ChatRequest, Message
from taistore.texts.llm.engines.asking import Asking
from taistore.texts.llm.engines.completions import ServerError, read_completion, request_body
from taistore.texts.llm.engines.transport import Answer

HARMLESS = Message("user", "Say hello.")

LIMIT = "max_tokens"
NEW_LIMIT = "max_completion_tokens"
"""Newer hosted models know the bound under this name only, and say so."""


class OpenAIEngine(Asking[ChatRequest, ChatReply]):
    """A :class:`~taistore.texts.llm.chat.ChatEngine` over HTTP; options as of :class:`Asking`.

    ``model`` is a name that the server knows, or "" for the only one that it lists.
    """

    def chat(self, requests: Sequence[ChatRequest]) -> Iterator[ChatReply]:
        """One reply per request: see :meth:`ask`."""
        return self.ask(requests)

    def _send(self, request: ChatRequest, without: frozenset[str]) -> Answer:
        limit = NEW_LIMIT if LIMIT in without else LIMIT
        body = request_body(request, model=self._asked_for, limit=limit)
        return self._transport.send("POST", "/chat/completions", body)

    def _read(self, request: ChatRequest, body: bytes) -> ChatReply:
        return read_completion(request.request_id, body)

    def _failed(self, request: ChatRequest, reason: str, detail: str) -> ChatReply:
        return ChatReply(request_id=request.request_id, text=None, reason=reason, detail=detail)

    def _harmless(self, request: ChatRequest) -> ChatRequest:
        return replace(request, messages=(HARMLESS,))

    def _refused_fields(self, said: ServerError) -> frozenset[str]:
        return frozenset({LIMIT}) if NEW_LIMIT in said.message else frozenset()
