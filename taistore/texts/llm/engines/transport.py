"""JSON over HTTP with bounds: on time in all, on the size of an answer, on where a key goes.

Connections and the protocol are httpcore's, the part of httpx below its client. The client is left
out for what it adds: proxies and passwords from the environment, cookies, a log line for each URL.
Nothing here follows a redirect: the key must not travel to another host.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import httpcore2

from taistore.texts.llm.engines.endpoint import Endpoint
from taistore.texts.llm.engines.wires import Wires

MAX_BYTES = 1 << 20
"""A caption has a few hundred bytes; what is larger than this is not read to its end. Images have
bounds of their own."""

HIDDEN = "***"

SHORTEST_KEY = 8
"""Characters; what is shorter is a stand-in for local servers, and stands in many a word."""


class NoAnswerError(Exception):
    """The server gave no whole answer; ``reason`` is the code kept in ``rejects``."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class NotConnectedError(NoAnswerError):
    """Not even a connection came about."""


class TooLargeError(NoAnswerError):
    """The answer has more bytes than are allowed; asking again would bring it again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    phrase: str
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Sends requests to one endpoint from many threads and keeps its connections open.

    ``seconds`` bounds a request in all, from connecting to the last byte, ``most`` an answer in
    bytes.
    """

    def __init__(
        self, endpoint: Endpoint, *, seconds: float, key: str, most: int = MAX_BYTES
    ) -> None:
        self.endpoint = endpoint
        self._most = most
        self._key = key.encode()
        self._seconds = seconds
        self._shown_key = _shown(key) if len(key) >= SHORTEST_KEY else None
        self._headers: dict[bytes | str, bytes | str] = {
            "Host": endpoint.authority,
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "taistore",
        }
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._wires = Wires()
        self._pool = httpcore2.ConnectionPool(
            ssl_context=httpcore2.default_ssl_context() if endpoint.secure else None,
            max_connections=None,
            network_backend=self._wires,
        )

    def hide(self, text: str) -> str:
        """``text`` without the key."""
        return text if self._shown_key is None else self._shown_key.sub(HIDDEN, text)

    def send(self, method: str, path: str, content: object = None) -> Answer:
        """One request and its whole answer, the key blotted out wherever the server repeats it.

        Raises :class:`NotConnectedError`, :class:`TooLargeError` or :class:`NoAnswerError`.
        """
        with self._bounded():
            answer = self._exchange(method, self.endpoint.prefix + path, content)
        # All but impossible in a long body of base64, which is looked through in no time.
        told = self._key in answer.body or b"\\" in answer.body
        if self._shown_key is not None and told:
            return replace(answer, body=self._readable(answer.body).encode("latin-1"))
        return answer

    def fetch(self, target: str) -> Answer:
        """Get a file of the endpoint's host and port, byte for byte; ``target`` begins with "/".

        Raises as :meth:`send`.
        """
        with self._bounded():
            return self._exchange("GET", target, None)

    def abort(self) -> None:
        """Break off what is under way in other threads; nothing is sent any more."""
        self._wires.abort()

    def close(self) -> None:
        """Close every connection; no other thread may be sending."""
        self._pool.close()

    @contextmanager
    def _bounded(self) -> Iterator[None]:
        """One request: its time, and its errors in our words."""
        try:
            with self._wires.timed(self._seconds):
                yield
        except httpcore2.ConnectTimeout as error:
            raise NotConnectedError("unreachable", "connecting took too long") from error
        except httpcore2.ConnectError as error:
            raise NotConnectedError("unreachable", _why(error)) from error
        except httpcore2.TimeoutException as error:
            raise NoAnswerError("timeout", f"no answer in {self._seconds:g} s") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            detail = f"the connection was dropped ({type(error).__name__})"
            # Such errors quote what the server sent, and a traceback would show it.
            raise NoAnswerError("dropped", detail) from None

    def _exchange(self, method: str, target: str, content: object) -> Answer:
        headers, body = self._headers, None
        if content is not None:
            headers = {**headers, "Content-Type": "application/json"}
            body = json.dumps(content).encode()
        url = httpcore2.URL(
            scheme="https" if self.endpoint.secure else "http",
            host=self.endpoint.host,
            port=self.endpoint.port,
            target=target,
        )
        with self._pool.stream(method, url, headers=headers, content=body) as response:
            # Before anything is read, where the server says how much it is.
            self._require_small(_announced(response.headers))
            content_bytes = bytearray()
            for chunk in response.iter_stream():
                content_bytes += chunk
                self._require_small(len(content_bytes))
        return Answer(
            status=response.status,
            phrase=self._readable(response.extensions["reason_phrase"]),
            headers={
                self._readable(name).lower(): self._readable(value)
                for name, value in response.headers
            },
            body=bytes(content_bytes),
        )

    def _require_small(self, length: int) -> None:
        if length > self._most:
            raise TooLargeError("too_large", f"an answer of more than {self._most:,} bytes")

    def _readable(self, sent: bytes) -> str:
        # Latin-1 takes any bytes there and back, and a key is ASCII.
        return self.hide(sent.decode("latin-1"))


def _announced(headers: Sequence[tuple[bytes, bytes]]) -> int:
    said = next((value for name, value in headers if name.lower() == b"content-length"), b"")
    return int(said) if said.isdigit() else 0


def _why(error: httpcore2.ConnectError) -> str:
    """What the system said; httpcore hands its error on as the only argument."""
    (cause,) = error.args
    return str(getattr(cause, "strerror", None) or type(cause).__name__)


def _shown(key: str) -> re.Pattern[str]:
    """Finds ``key`` as it is and as JSON may write it, in JSON within JSON too."""
    characters = (f"(?:{re.escape(c)}|(?i:u{ord(c):04x}))" for c in key)
    return re.compile("".join(rf"\\{{0,4}}{character}" for character in characters))
