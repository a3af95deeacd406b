"""The writer ``openai``: images of any server that speaks ``POST /v1/images/generations``.

Waiting, asking again and giving up are the chat engine's; the key is read from ``OPENAI_API_KEY``
and sent to the base URL, nowhere else.
"""

import base64
import binascii
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote, urljoin, urlsplit

from taistore.errors import SyntheticError, TextError
from taistore.synthetic.image_writer import (
    PER_TEXT,
    UNANSWERED,
    ImageRequest,
    StoredText,
    WrittenImage,
    numbered,
)
from taistore.texts.llm.engines.asking import Asking
from taistore.texts.llm.engines.completions import (
    ReplyError,
    ServerError,
    one_line,
    read_json,
    server_error,
)
from taistore.texts.llm.engines.endpoint import Endpoint
from taistore.texts.llm.engines.transport import Answer

MOST_BYTES = 64 << 20
"""Of an answer, or of a file that it names; what is larger is not read to its end."""

WAVE = 16
"""Requests per connection in one call of ``write``: at its end connections wait for the last."""

OPTIONAL = frozenset({"response_format", "seed"})
"""Fields that some servers refuse; they are left out where that helps."""

UNSAFE_CODES = frozenset(
    {"content_policy_violation", "moderation_blocked", "content_filter", "contentFilter"}
)

FINAL = frozenset({"refused_request", "too_large", "unsafe"})
"""Why a request failed that would fail again."""

SEED_BITS = 31
"""Some servers keep a seed in 32 bits, with or without a sign."""

HARMLESS = "a red apple on a table"


@contextmanager
def openai_images_writer(
    *,
    per_text: int = PER_TEXT,
    seed: int = 0,
    base_url: str = "",
    model: str = "",
    concurrency: int = 4,
    timeout: float = 120.0,
    size: int | None = None,
    retries: int = 5,
    first_wait: float = 0.5,
) -> Iterator["OpenAIImagesWriter"]:
    """``per_text`` images of each text by the server at ``base_url`` (``http://localhost:8000/v1``).

    ``model`` is a name that the server knows, or "" for its only or its own choice; ``size`` the
    side of the images in pixels, where the server shall not choose. ``concurrency`` requests are
    under way at once, each ``timeout`` seconds at most; after a failure that may pass, up to
    ``retries`` others follow, the first about ``first_wait`` seconds later. Raises
    :class:`SyntheticError` where nobody answers or an option is wrong.
    """
    if not base_url:
        raise SyntheticError("writer openai needs base_url, such as http://localhost:8000/v1")
    if size is not None and size < 1:
        raise SyntheticError(f"size must be at least 1 pixel, not {size}")
    try:
        engine = _ImagesEngine(
            base_url,
            model,
            concurrency=concurrency,
            timeout=timeout,
            retries=retries,
            first_wait=first_wait,
            most=MOST_BYTES,
        )
        engine.size = size
        engine.__enter__()
    except TextError as error:
        raise SyntheticError(str(error)) from error
    with engine:
        yield OpenAIImagesWriter(engine, per_text=per_text, seed=seed, batch=WAVE * concurrency)


class OpenAIImagesWriter:
    """An :class:`~taistore.synthetic.image_writer.ImageWriter` over HTTP."""

    name = "openai"

    def __init__(self, engine: "_ImagesEngine", *, per_text: int, seed: int, batch: int) -> None:
        self._engine = engine
        self._per_text = per_text
        self._seed = seed
        self.batch = batch

    @property
    def model(self) -> str | None:
        """What the server calls what draws; None where nobody said."""
        return self._engine.model or None

    def wanted(self, texts: int) -> int:
        """``per_text`` of each."""
        return texts * self._per_text

    def requests(self, texts: Iterable[StoredText]) -> Iterator[ImageRequest]:
        """``per_text`` images of each text."""
        return numbered(texts, self._per_text, seed=self._seed)

    def write(self, requests: Sequence[ImageRequest]) -> Iterator[WrittenImage]:
        """The server's images as they come; raises :class:`SyntheticError` when no more can."""
        try:
            yield from self._engine.ask(requests)
        except TextError as error:
            raise SyntheticError(str(error)) from error


class _ImagesEngine(Asking[ImageRequest, WrittenImage]):
    ahead: ClassVar[int] = 2
    what: ClassVar[str] = "image model"
    needs_model: ClassVar[bool] = False
    size: int | None = None

    def _send(self, request: ImageRequest, without: frozenset[str]) -> Answer:
        body: dict[str, object] = {"prompt": request.text.text, "n": 1}
        if self._asked_for:
            body["model"] = self._asked_for
        if self.size is not None:
            body["size"] = f"{self.size}x{self.size}"
        if request.seed is not None:
            body["seed"] = request.seed & ((1 << SEED_BITS) - 1)
        body["response_format"] = "b64_json"
        kept = {name: value for name, value in body.items() if name not in without}
        return self._transport.send("POST", "/images/generations", kept)

    def _read(self, request: ImageRequest, body: bytes) -> WrittenImage:
        first = _first_image(body)
        if first is None:
            return self._failed(request, "no_image", f"no image: {server_error(body).message}")
        encoded, url = first.get("b64_json"), first.get("url")
        if isinstance(encoded, str) and encoded:
            return WrittenImage(request=request, image=_decoded(encoded))
        if not isinstance(url, str) or not url:
            return self._failed(request, "no_image", "neither b64_json nor url in the answer")
        if url.startswith("data:"):
            return WrittenImage(request=request, image=_decoded(url))
        target = own_target(self._transport.endpoint, url)
        if target is None:
            # Of a signed address the rest may be a secret.
            detail = f"the image lies at {_host(url)}, not at {self._transport.endpoint.authority}"
            return self._final(request, "elsewhere", self._transport.hide(detail))
        answer = self._transport.fetch(target)
        if answer.status != 200:
            said = f"{answer.status} {one_line(answer.phrase)}"
            raise ReplyError(f"the image that the answer names cannot be fetched: {said}")
        return WrittenImage(request=request, image=answer.body)

    def _failed(self, request: ImageRequest, reason: str, detail: str) -> WrittenImage:
        known = reason in FINAL or reason == "no_image"
        return self._final(request, reason if known else f"{UNANSWERED}{reason}", detail)

    @staticmethod
    def _final(request: ImageRequest, reason: str, detail: str) -> WrittenImage:
        return WrittenImage(request=request, image=None, reason=reason, detail=detail)

    def _harmless(self, request: ImageRequest) -> ImageRequest:
        return replace(request, text=request.text._replace(text=HARMLESS))

    def _refused_fields(self, said: ServerError) -> frozenset[str]:
        if said.code in UNSAFE_CODES:
            return frozenset()
        named = frozenset(name for name in OPTIONAL if re.search(rf"\b{name}\b", said.message))
        if named or self._served_at is not None:
            return named
        # Some servers do not say what they refuse; once an image has come, it is not the form.
        return OPTIONAL

    def _why_refused(self, said: ServerError) -> str:
        return "unsafe" if said.code in UNSAFE_CODES else super()._why_refused(said)


def _first_image(body: bytes) -> dict[str, Any] | None:
    """The first entry of ``data``; None where there is none.

    Raises :class:`ReplyError` where the answer is of another form.
    """
    content = read_json(body)
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, list):
        raise ReplyError(f"not an answer with images: {server_error(body).message}")
    if not data:
        return None
    if not isinstance(data[0], dict):
        raise ReplyError("an image of the answer is not an object")
    return data[0]


def _decoded(encoded: str) -> bytes:
    if encoded.startswith("data:"):
        encoded = encoded.partition(",")[2]
    if "\n" in encoded:
        encoded = "".join(encoded.split())
    try:
        image = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ReplyError("the image is not whole base64") from error
    if not image:
        raise ReplyError("the image is empty")
    return image


def own_target(endpoint: Endpoint, url: str) -> str | None:
    """Path and query of ``url`` where it lies on the endpoint's own host and port, else None.

    >>> endpoint = Endpoint.parse("http://localhost:8000/v1")
    >>> own_target(endpoint, "http://localhost:8000/files/a.png?t=1")
    '/files/a.png?t=1'
    >>> own_target(endpoint, "/files/a b.png")
    '/files/a%20b.png'
    >>> own_target(endpoint, "http://localhost/files/a.png") is None
    True
    """
    try:
        parts = urlsplit(urljoin(f"{endpoint}/", url.strip()))
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except ValueError:
        return None
    usual = 443 if endpoint.secure else 80
    here = ("https" if endpoint.secure else "http", endpoint.host, endpoint.port or usual)
    if (parts.scheme, host, port or usual) != here or "@" in parts.netloc:
        return None
    path = quote(parts.path or "/", safe=string.punctuation)
    return f"{path}?{quote(parts.query, safe=string.punctuation)}" if parts.query else path


def _host(url: str) -> str:
    try:
        return one_line(urlsplit(url).netloc.rpartition("@")[2]) or "no host"
    except ValueError:
        return "no host"
