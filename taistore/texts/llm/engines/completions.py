"""What an OpenAI-compatible server is asked and what its answers mean; no network in here."""

import json
from dataclasses import dataclass
from typing import Any

from taistore.texts.llm.chat import ChatReply, ChatRequest

DETAIL_LENGTH = 200
AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504, *range(520, 525), 529})
"""Statuses after which the same request may succeed; Cloudflare has its own from 520 to 524."""


class ReplyError(Exception):
    """An answer that is no chat completion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerError:
    """What a server says about a request that it did not answer."""

    message: str
    code: str = ""

    @property
    def no_credit(self) -> bool:
        """Waiting does not help: somebody must pay."""
        return self.code in ("insufficient_quota", "billing_hard_limit_reached")


def request_body(request: ChatRequest, *, model: str, limit: str) -> dict[str, object]:
    """The JSON of ``POST /chat/completions``; ``limit`` names the field for ``max_tokens``."""
    return {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in request.messages],
        "temperature": request.temperature,
        limit: request.max_tokens,
        "seed": request.seed,
        "stream": False,
    }


def read_completion(request_id: str, body: bytes) -> ChatReply:
    """The reply in a 200 answer; raises :class:`ReplyError` when its form is wrong.

    Reasoning beside the text (``reasoning_content``) is ignored.
    """
    content = read_json(body)
    try:
        choice = content["choices"][0]
        message = choice["message"]
        text, refusal = message.get("content"), message.get("refusal")
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        said = server_error(body).message
        raise ReplyError(f"not a chat completion: {said}") from error
    truncated = finish == "length"
    if refusal or finish == "content_filter":
        detail = one_line(str(refusal or "filtered by the server"))
        return ChatReply(request_id=request_id, text=None, reason="refused", detail=detail)
    if text is None or text == "":
        detail = f"no text, finish_reason {one_line(str(finish))}"
        return ChatReply(
            request_id=request_id,
            text=None,
            truncated=truncated,
            reason="empty_reply",
            detail=detail,
        )
    if not isinstance(text, str):
        raise ReplyError("the content is not a text")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ReplyError("the text holds half of a surrogate pair") from error
    return ChatReply(request_id=request_id, text=text, truncated=truncated)


def server_error(body: bytes) -> ServerError:
    """Message and code of an error answer, in one line, however the server wraps them."""
    try:
        content = read_json(body)
    except ReplyError:
        return ServerError(message=one_line(body[: 4 * DETAIL_LENGTH].decode(errors="replace")))
    inner = content.get("error", content) if isinstance(content, dict) else content
    if isinstance(inner, dict):
        said = inner.get("message") or inner.get("detail") or inner
        return ServerError(message=one_line(str(said)), code=str(inner.get("code") or ""))
    return ServerError(message=one_line(str(inner)))


def model_names(body: bytes) -> list[str]:
    """The models that ``GET /models`` lists; empty when it lists none in the usual form."""
    try:
        rows = read_json(body)["data"]
        return [row["id"] for row in rows if isinstance(row["id"], str)]
    except (ReplyError, KeyError, TypeError):
        return []


def one_line(text: str) -> str:
    """``text`` in one short printable line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= DETAIL_LENGTH else line[:DETAIL_LENGTH] + "…"


def read_json(body: bytes) -> Any:
    """What a body holds; raises :class:`ReplyError` where that is no JSON."""
    try:
        return json.loads(body.decode())
    except UnicodeDecodeError as error:
        raise ReplyError("the answer is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ReplyError("the answer is not whole JSON") from error
